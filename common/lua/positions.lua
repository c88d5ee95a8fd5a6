-- The positions of channels. KEYS: epoch. ARGV: prefix of channels, a new epoch if one is needed,
-- then scoped channels. Returns per channel: epoch, offset, the epoch before (the shard's, 0 and the
-- shard's for a channel in which nothing was published).
local shard = shard_epoch(KEYS[1], ARGV[2])
local out = {}
for k = 3, #ARGV do
  local seen = redis.call('HMGET', ARGV[1] .. ARGV[k], 'e', 'o', 'p')
  out[#out + 1] = seen[1] or shard.epoch
  out[#out + 1] = tonumber(seen[2] or 0)
  out[#out + 1] = seen[3] or shard.before
end
return out
