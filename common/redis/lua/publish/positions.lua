-- Read the positions of channels. KEYS: epoch. ARGV: prefixes of channels and logs, a new epoch if one
-- is needed, whether a subscriber will start at them ('1'; else '0': they are compared with known ones,
-- and channels without a hash are not looked into), then scoped channels. Returns per channel:
-- epoch, offset, the epoch before (the shard's, 0 and the shard's for a channel in which nothing was
-- published).
local shard = shard_epoch(KEYS[1], ARGV[3])
local out = {}
for k = 5, #ARGV do
  local hash = ARGV[1] .. ARGV[k]
  local seen = redis.pcall('HMGET', hash, 'e', 'o', 'p')
  local epoch, offset, before = seen[1], tonumber(seen[2] or ''), seen[3]
  if not (epoch and offset) then
    epoch, offset, before = nil, nil, nil
    if ARGV[4] == '1' then
      local log = ARGV[2] .. ARGV[k]
      local found = standing(hash, log)
      epoch, offset, before = found.epoch, found.offset, found.epoch and ''
      if not epoch then
        epoch = begin_again(KEYS[1], shard, ARGV[3], ARGV[k], hash, log)
        before = epoch and ''
      end
    end
  end
  out[#out + 1] = epoch or shard.epoch
  out[#out + 1] = offset or 0
  out[#out + 1] = before or shard.before
end
return out
