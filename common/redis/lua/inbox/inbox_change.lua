-- Record that a user's inbox changes in the database: the cached one is invalid from now on, and
-- nothing is cached until the change is over, or can't be running any more.
-- KEYS: changes. ARGV: change that is over (empty: one begins), most ms that a change takes, seconds
-- for which this is remembered.
-- Returns the name of the change.
local time = redis.call('TIME')
local name = time[1] .. '.' .. string.format('%06d', time[2])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('HGET', KEYS[1], 'm') or ''
if ARGV[1] == '' then
  -- Two changes in one microsecond get two names.
  if last == name then name = name .. '+' end
  redis.call('HSET', KEYS[1], 'm', name, 'q', string.format('%d', now + ARGV[2]))
else
  -- Another change that began since is still running.
  if last == ARGV[1] then redis.call('HSET', KEYS[1], 'q', '0') end
  redis.call('HSET', KEYS[1], 'm', name .. '/')
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return name
