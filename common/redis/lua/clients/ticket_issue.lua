-- Store a ticket, unless its client or its user has the most unused ones that they may have.
-- KEYS: the ticket, those of its client, those of its user. ARGV: its name, the value to store, its
-- lifetime in ms, most of the client, most of the user.
-- Returns {0}; or {1} for the client or {2} for the user, and the ms until one of theirs expires.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local after = string.format('(%.0f', now)
local good_ms = tonumber(ARGV[3])

for k = 2, 3 do
  if redis.call('ZCOUNT', KEYS[k], after, '+inf') >= tonumber(ARGV[k + 2]) then
    local first = redis.call('ZRANGE', KEYS[k], after, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    return {k - 1, math.max(1, tonumber(first[2] or now) - now)}
  end
end

for k = 2, 3 do
  redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', string.format('%.0f', now))
  redis.call('ZADD', KEYS[k], string.format('%.0f', now + good_ms), ARGV[1])
  redis.call('PEXPIRE', KEYS[k], good_ms)
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', good_ms)
return {0}
