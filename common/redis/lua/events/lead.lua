-- Take, keep or give up a lease. KEYS[1] lease; ARGV: name, milliseconds (0: give it up).
-- Returns 1 if the name has it now.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
