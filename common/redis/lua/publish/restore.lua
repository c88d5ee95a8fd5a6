-- Write back the position and the log of one channel, as they were read from Kafka. The position has
-- no server's run, so that the next publication begins a new epoch after it.
-- KEYS: channel, log. ARGV: epoch, offset, the epoch before it ('' if none is known) and where that
-- ended, log seconds, channel seconds, then the log's entries, the oldest first.
-- Returns 1 if it wrote, 0 if the channel is as it should be, or was published in since.
local hash, log = KEYS[1], KEYS[2]
local seen = redis.call('HMGET', hash, 'e', 'o', 'r')
local length = redis.call('LLEN', log)
if seen[3] and seen[3] ~= 'restored' then return 0 end
if seen[1] == ARGV[1] and seen[2] == ARGV[2] and length == #ARGV - 6 then return 0 end
redis.call('DEL', log)
for k = 7, #ARGV, 500 do
  redis.call('RPUSH', log, unpack(ARGV, k, math.min(k + 499, #ARGV)))
end
redis.call('HSET', hash, 'e', ARGV[1], 'o', ARGV[2], 'r', 'restored', 'p', ARGV[3], 'q', ARGV[4])
redis.call('HDEL', hash, 't')
redis.call('EXPIRE', hash, ARGV[6])
redis.call('EXPIRE', log, ARGV[5])
return 1
