-- The positions of channels. KEYS: epoch. ARGV: prefix of channels, a new epoch if one is needed,
-- then scoped channels. Returns epoch, offset, epoch, offset, … (the shard's epoch and 0 for a
-- channel in which nothing was published).
local silent = shard_epoch(KEYS[1], ARGV[2]).epoch
local out = {}
for k = 3, #ARGV do
  local seen = redis.call('HMGET', ARGV[1] .. ARGV[k], 'e', 'o')
  out[#out + 1] = seen[1] or silent
  out[#out + 1] = tonumber(seen[2] or 0)
end
return out
