-- Note users of one client who connected: those who were not noted recently become one event.
-- KEYS: events, sights. ARGV: writer, scoped channel of the client's broadcasts, number of events at
-- which sights are refused, most users remembered, seconds for which they are, then per user: scoped
-- name, JSON text of the id, ms that it waited.
-- Returns how many were written; -1: the event stream is full, and nothing was.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lately = now - ARGV[5] * 1000
local length = redis.call('XLEN', KEYS[1])
redis.call('ZCARD', KEYS[2])
local texts, marks = {}, {}
for k = 6, #ARGV, 3 do
  local at = now - ARGV[k + 2]
  local known = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[k]) or nil)
  -- A sight that had to wait may be earlier than the known one.
  if not known or known <= lately or known > at then
    local text = string.format('%d', at)
    texts[#texts + 1] = '[' .. ARGV[k + 1] .. ',' .. text .. ']'
    marks[#marks + 1], marks[#marks + 2] = text, ARGV[k]
  end
end
if #texts == 0 then return 0 end
if length >= tonumber(ARGV[3]) then return -1 end
local text = '{"users":[' .. table.concat(texts, ',') .. ']}'
redis.call('XADD', KEYS[1], '*', 'k', 'seen', 'c', ARGV[2], 'w', ARGV[1], 'p', text)
redis.call('ZADD', KEYS[2], unpack(marks))
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -ARGV[4] - 1)
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.pcall('HINCRBY', KEYS[1] .. ':clients', string.match(ARGV[2], '^[^/]*'), 1)
return #texts
