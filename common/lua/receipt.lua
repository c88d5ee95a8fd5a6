-- Write receipts of one user as events; what was read leaves the cache of unread notifications, and
-- the user's connections are told.
-- KEYS: events. ARGV: about how many events (empty: all, until trim.lua has seen them read), writer,
-- kind, scoped channel of the user, pub/sub channel, key of the unread cache, what to publish (empty:
-- nothing), keys of the user's last reads and of the changes, time in ms (empty: this marks nothing
-- as read), most reads kept, seconds for which they are, then per receipt: notification, text.
local events_max, kind, channel = ARGV[1], ARGV[3], ARGV[4]
local unread, reads, changes, at = ARGV[6], ARGV[8], ARGV[9], ARGV[10]
redis.call('XLEN', KEYS[1])
redis.call('ZCARD', unread)
redis.call('ZCARD', reads)
redis.call('HLEN', changes)
local entry = ''
for k = 13, #ARGV, 2 do
  if events_max == '' then
    entry = redis.call('XADD', KEYS[1], '*', 'k', kind, 'c', channel, 'w', ARGV[2], 'p', ARGV[k + 1])
  else
    entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', events_max, '*', 'k', kind, 'c', channel, 'w', ARGV[2], 'p', ARGV[k + 1])
  end
  if at ~= '' then
    redis.call('ZREM', unread, ARGV[k])
    redis.call('ZADD', reads, at, ARGV[k])
  end
end
if at ~= '' then
  redis.call('ZREMRANGEBYRANK', reads, 0, -ARGV[11] - 1)
  redis.call('EXPIRE', reads, ARGV[12])
  redis.call('HSET', changes, 'r', entry)
  redis.call('EXPIRE', changes, ARGV[12])
end
if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[7]) end
return (#ARGV - 12) / 2
