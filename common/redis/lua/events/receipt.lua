-- Write receipts of one user as events, remove read notifications from the cache of unread ones, and
-- notify the user's connections. A receipt that was written before is not written again.
-- KEYS: events. ARGV: about how many events are kept (empty: all, until trim.lua finds them read),
-- writer, kind, scoped channel of the user, pub/sub channel, key of the unread cache, message to publish
-- (empty: none), keys of the user's last receipts of this kind and of the changes, time in ms, most
-- receipts remembered, seconds for which they are, whether this marks as read (1), number of events at
-- which receipts are refused (empty: never), then per receipt: notification, text.
-- Returns how many were written; -1: the event stream is filling, and none was.
local events_max, kind, channel = ARGV[1], ARGV[3], ARGV[4]
local unread, known, changes, at = ARGV[6], ARGV[8], ARGV[9], ARGV[10]
local marks, bound = ARGV[13] == '1', tonumber(ARGV[14])
local length = redis.call('XLEN', KEYS[1])
redis.call('ZCARD', unread)
redis.call('HLEN', changes)
local fresh = {}
for k = 15, #ARGV, 2 do
  if not redis.call('ZSCORE', known, ARGV[k]) then fresh[#fresh + 1] = k end
end
if #fresh == 0 then return 0 end
if bound and length >= bound then return -1 end
local entry = ''
for _, k in ipairs(fresh) do
  if events_max == '' then
    entry = redis.call('XADD', KEYS[1], '*', 'k', kind, 'c', channel, 'w', ARGV[2], 'p', ARGV[k + 1])
  else
    entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', events_max, '*', 'k', kind, 'c', channel, 'w', ARGV[2], 'p', ARGV[k + 1])
  end
  if marks then redis.call('ZREM', unread, ARGV[k]) end
  redis.call('ZADD', known, at, ARGV[k])
end
redis.call('ZREMRANGEBYRANK', known, 0, -ARGV[11] - 1)
redis.call('EXPIRE', known, ARGV[12])
if marks then
  redis.call('HSET', changes, 'r', entry)
  redis.call('EXPIRE', changes, ARGV[12])
end
if events_max == '' then
  redis.pcall('HINCRBY', KEYS[1] .. ':clients', string.match(channel, '^[^/]*'), #fresh)
end
if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[7]) end
return #fresh
