-- Cache an inbox that was read from the database, unless something changed meanwhile.
-- KEYS: inbox, unread, changes, sights. ARGV: run, last read, last change and last sight as
-- inbox_begin.lua returned them; scoped user; positions (lines of channel, epoch, offset, separated by tabs); ids of the page, a line
-- each; page (empty: none); seconds to keep it; then per unread notification: created (ms), id.
-- Returns 1 if it was stored.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local changes = redis.call('HMGET', KEYS[3], 'r', 'm', 'q')
if run ~= ARGV[1] or (changes[1] or '') ~= ARGV[2] or (changes[2] or '') ~= ARGV[3] then return 0 end
if (redis.call('ZSCORE', KEYS[4], ARGV[5]) or '') ~= ARGV[4] then return 0 end
local time = redis.call('TIME')
local stamp = time[1] * 1000000 + time[2]
if tonumber(changes[3] or 0) * 1000 > stamp then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
stamp = string.format('%d', stamp)
redis.call('ZADD', KEYS[2], stamp, '')
for k = 10, #ARGV, 1000 do
  redis.call('ZADD', KEYS[2], unpack(ARGV, k, math.min(k + 999, #ARGV)))
end
redis.call('HSET', KEYS[1], 'run', run, 'stamp', stamp, 'm', ARGV[3], 's', ARGV[4], 'p', ARGV[6], 'ids', ARGV[7])
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'page', ARGV[8]) end
redis.call('EXPIRE', KEYS[1], ARGV[9])
redis.call('EXPIRE', KEYS[2], ARGV[9])
return 1
