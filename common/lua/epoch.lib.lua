-- The epoch that silent channels are in. It ends with the run of the Redis server that it began
-- in: what that server handed out last may be lost. KEYS[1] epoch; the candidate becomes the new one.
local function shard_epoch(epoch_key, candidate)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local known = redis.call('HMGET', epoch_key, 'e', 'r')
  if known[2] == run then return known[1] end
  redis.call('HSET', epoch_key, 'e', candidate, 'r', run)
  return candidate
end
