-- Write receipts of one user as events; what was read leaves the cache of unread notifications, and
-- the user's connections are told.
-- KEYS: events. ARGV: about how many events (empty: all, until trim.lua has seen them read), writer,
-- kind, scoped channel of the user, pub/sub channel, key of the unread cache, what to publish (empty:
-- nothing), then per receipt: notification, text.
local events_max, kind, channel = ARGV[1], ARGV[3], ARGV[4]
redis.call('XLEN', KEYS[1])
redis.call('ZCARD', ARGV[6])
for k = 8, #ARGV, 2 do
  if events_max == '' then
    redis.call('XADD', KEYS[1], '*', 'k', kind, 'c', channel, 'w', ARGV[2], 'p', ARGV[k + 1])
  else
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', events_max, '*', 'k', kind, 'c', channel, 'w', ARGV[2], 'p', ARGV[k + 1])
  end
  if kind == 'read' then redis.call('ZREM', ARGV[6], ARGV[k]) end
end
if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[7]) end
return (#ARGV - 7) / 2
