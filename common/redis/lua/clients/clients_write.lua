-- Write records of clients, each unless one of the same or a higher version is there.
-- KEYS: clients, order, head. ARGV: a generation, if there is none yet; then id, version, record, …
-- A record is stored after its version and a space. Returns how many were written.
redis.call('HSETNX', KEYS[3], 'g', ARGV[1])
local written = 0
for k = 2, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[k])
  if not known or tonumber(string.match(known, '^%d+')) < tonumber(ARGV[k + 1]) then
    redis.call('HSET', KEYS[1], ARGV[k], ARGV[k + 1] .. ' ' .. ARGV[k + 2])
    redis.call('ZADD', KEYS[2], redis.call('HINCRBY', KEYS[3], 's', 1), ARGV[k])
    written = written + 1
  end
end
return written
