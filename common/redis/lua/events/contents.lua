-- Delete shared contents that nothing refers to any more: no remaining event, and no log whose
-- channel had no publication since.
-- KEYS: events, contents. ARGV: prefix of contents, ms for which logs keep them, most to delete.
-- Returns how many were deleted, and how many are left.
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
if first then until_ms = math.min(until_ms, tonumber(string.match(first[1], '^%d+')) - 1) end
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%d', until_ms), 'LIMIT', 0, ARGV[3])
for _, digest in ipairs(old) do
  redis.call('DEL', ARGV[1] .. digest)
  redis.call('ZREM', KEYS[2], digest)
end
return {#old, redis.call('ZCARD', KEYS[2])}
