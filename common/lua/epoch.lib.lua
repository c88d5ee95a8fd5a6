-- The epoch that channels begin in. It ends with the run of the Redis server that it began in,
-- because what that server handed out last may be lost, and when it is older than rotate_s, so
-- that a channel whose position was forgotten never begins again in the epoch it had.
-- KEYS[1] epoch; the candidate becomes the new one; run is that of the server this runs on, asked
-- of it here when the caller has not read it on the same connection.
-- Returns a table: epoch, the run (shortened), the epoch before it ('' if there was none), and now
-- (Unix seconds).
local function shard_epoch(epoch_key, candidate, rotate_s, run)
  run = run or string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 12)
  local known = redis.call('HMGET', epoch_key, 'e', 'r', 'p', 't')
  local now = tonumber(redis.call('TIME')[1])
  local old = rotate_s and known[4] and now - tonumber(known[4]) > rotate_s
  if known[2] == run and not old then
    return {epoch = known[1], run = run, before = known[3] or '', now = now}
  end
  local before = known[1] or ''
  redis.call('HSET', epoch_key, 'e', candidate, 'r', run, 'p', before, 't', string.format('%d', now))
  return {epoch = candidate, run = run, before = before, now = now}
end
