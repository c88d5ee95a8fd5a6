-- Read one channel's publications after a position. KEYS: epoch. ARGV: prefixes of channels and
-- logs, a new epoch if one is needed, scoped channel, epoch and offset of the position, most
-- entries, most bytes, prefix of shared contents.
-- Returns epoch and offset of the channel now, whether the entries continue the position without
-- a gap (0 or 1), and the entries. With a gap, they are the entries in the log that a subscriber at
-- that position can't have received.
local shard = shard_epoch(KEYS[1], ARGV[3])
local name, epoch, offset = ARGV[4], ARGV[5], tonumber(ARGV[6])
local hash, log = ARGV[1] .. name, ARGV[2] .. name
local found = standing(hash, log)
local now, last, before, ended_at = found.epoch, found.offset or 0, found.before, found.ended_at or 0
if found.lost then
  before = ''
  if not now then
    now = begin_again(KEYS[1], shard, ARGV[3], name, hash, log)
    if not now then
      now = shard.epoch
      if not may_have_been_in(KEYS[1], shard.before, bits_of(name)) then before = shard.before end
    end
  end
end
before = before or shard.before
local exact = 1
if epoch == now then
  if offset > last then return {now, last, 0, {}} end
elseif epoch ~= before or offset > ended_at then
  -- Publications past the recorded end, or in an epoch before that, may be lost with their server.
  -- A subscriber at such a position has received nothing of the current epoch.
  exact, offset = 0, ended_at
end
if offset >= last then return {now, last, exact, {}} end

-- The place of an entry in the log follows from its offset. This reveals a log that somebody else cut
-- or added to: at its end, or at the place to read from, there is another entry.
local function is_at(index, expected)
  local entry = redis.pcall('LINDEX', log, index)
  if type(entry) ~= 'string' then return false end
  return string.match(entry, '^%S+ (%d+) %d+ %S+[^\n]*\n') == string.format('%d', expected)
end
local length = redis.pcall('LLEN', log)
if type(length) ~= 'number' or not is_at(-1, last) then return {now, last, 0, {}} end
local from = length - (last - offset)
if from < 0 then exact, from = 0, 0 end
if not is_at(from, last - length + from + 1) then return {now, last, 0, {}} end

-- Returns an entry with its shared content, or nil if that is gone.
local function whole(entry)
  local stop = string.find(entry, '\n', 1, true)
  local header, digest, at =
    string.match(string.sub(entry, 1, (stop or 1) - 1), '^(%S+ %S+ %S+ %S+) (%x+):(%d+)$')
  if not header then return entry end
  local content = redis.pcall('GET', ARGV[9] .. digest)
  if type(content) ~= 'string' then return nil end
  at = stop + at
  return header .. string.sub(entry, stop, at) .. content
    .. string.sub(entry, at + #'null,"data":null' + 1)
end

local entries, bytes = {}, tonumber(ARGV[8])
for k = from, math.min(from + ARGV[7], length) - 1, 16 do
  for _, entry in ipairs(redis.call('LRANGE', log, k, math.min(k + 15, length - 1))) do
    if bytes <= 0 or #entries >= tonumber(ARGV[7]) then return {now, last, exact, entries} end
    entry = whole(entry)
    if entry then
      entries[#entries + 1] = entry
      bytes = bytes - #entry
    elseif #entries > 0 then
      return {now, last, exact, entries}
    else
      exact = 0
    end
  end
end
return {now, last, exact, entries}
