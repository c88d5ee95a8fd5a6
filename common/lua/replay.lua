-- What was published in one channel after a position. KEYS: epoch. ARGV: prefixes of channels and
-- logs, a new epoch if one is needed, scoped channel, epoch and offset of the position, most
-- entries, most bytes.
-- Returns epoch and offset of the channel now, whether the entries continue the position without
-- a hole (0 or 1), and the entries. With a hole they are what the log has of what nobody at that
-- position can have seen.
local shard = shard_epoch(KEYS[1], ARGV[3])
local name, epoch, offset = ARGV[4], ARGV[5], tonumber(ARGV[6])
local seen = redis.call('HMGET', ARGV[1] .. name, 'e', 'o', 'p', 'q')
local now, last = seen[1] or shard.epoch, tonumber(seen[2] or 0)
local before, ended_at = seen[3] or shard.before, tonumber(seen[4] or 0)
local exact = 1
if epoch == now then
  if offset > last then return {now, last, 0, {}} end
elseif epoch ~= before or offset > ended_at then
  -- What was published past the recorded end, or in an epoch before that, may be lost with the
  -- server that did it. Nobody who is at such a position has seen anything of the epoch now.
  exact, offset = 0, ended_at
end
if offset == last then return {now, last, exact, {}} end
local log = ARGV[2] .. name
local length = redis.call('LLEN', log)
local from = length - (last - offset)
if from < 0 then exact, from = 0, 0 end
local entries, bytes = {}, tonumber(ARGV[8])
for k = from, math.min(from + ARGV[7], length) - 1, 16 do
  for _, entry in ipairs(redis.call('LRANGE', log, k, math.min(k + 15, length - 1))) do
    if bytes <= 0 or #entries >= tonumber(ARGV[7]) then return {now, last, exact, entries} end
    entries[#entries + 1] = entry
    bytes = bytes - #entry
  end
end
return {now, last, exact, entries}
