-- Give up turns and, where they were still held, publish their jobs: once, in order, in one step.
-- KEYS: epoch, held, ready, active, waiting, returns, events, dead.
-- ARGV: lane, prefix of the lane's job lists, about how many dead letters are kept, ten as
-- publish.lib.lua has them; then per turn: partition, jobs done, n, and n times: scoped channel,
-- accepted (ms), head, extra (see publish.lib.lua).
-- An entry with an empty accepted time is an event that nobody is sent (it expired): its head is
-- complete. One with the accepted time `dead` is no job: its head is the text found, its extra the
-- reason.
-- Returns publications, turns that were no longer held.
local held, ready, active, waiting = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local returns, dead = KEYS[6], KEYS[8]
local lane, jobs_prefix, dead_max = ARGV[1], ARGV[2], ARGV[3]
local out = publisher(KEYS[1], KEYS[7], 4)

-- Lua does not roll back: what can fail because somebody else wrote a key is read first.
redis.call('LLEN', ready)
redis.call('SCARD', active)
redis.call('HGET', waiting, lane)
redis.call('HLEN', returns)
redis.call('XLEN', dead)
local i = 14
while i <= #ARGV do
  redis.call('LLEN', jobs_prefix .. ARGV[i])
  local last = i + 2 + 4 * ARGV[i + 2]
  for k = i + 3, last, 4 do
    if ARGV[k + 1] ~= '' and ARGV[k + 1] ~= 'dead' then out.channel(ARGV[k]) end
  end
  i = last + 1
end

local published, lost = 0, 0
i = 14
while i <= #ARGV do
  local partition, done, n = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  i = i + 3
  if redis.call('LREM', held, 1, partition) == 0 then
    lost = lost + 1
    i = i + 4 * n
  else
    for k = i, i + 4 * n - 1, 4 do
      local name, accepted, head, extra = ARGV[k], ARGV[k + 1], ARGV[k + 2], ARGV[k + 3]
      if accepted == '' then
        out.expire(name, head)
      elseif accepted == 'dead' then
        redis.call('XADD', dead, 'MAXLEN', '~', dead_max, '*', 'reason', extra, 'lane', lane, 'job', head)
        out.bury(head, extra)
      else
        out.publish(name, accepted, head, extra)
        published = published + 1
      end
    end
    i = i + 4 * n
    local jobs = jobs_prefix .. partition
    if done > 0 then
      redis.call('LTRIM', jobs, 0, -done - 1)
      redis.call('HINCRBY', waiting, lane, -done)
    end
    redis.call('HDEL', returns, lane .. ':' .. partition)
    if redis.call('LLEN', jobs) > 0 then
      redis.call('LPUSH', ready, partition)
    else
      redis.call('SREM', active, partition)
    end
  end
end

out.flush()
return {published, lost}
