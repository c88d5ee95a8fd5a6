-- Take jobs that were pushed by hand from the tail of a lane's open door. A job with nothing ahead of
-- it is published at once; all others are queued.
-- KEYS: waiting, door, dead, epoch, events.
-- ARGV[9] lane, ARGV[10] about how many dead letters are kept, ARGV[11..20] as publish.lib.lua has
-- them, ARGV[21] number of items; ARGV[22..]: per item the exact text expected at the tail and a
-- reason. An item with a reason goes to the dead letters; else there follow a scoped channel,
-- accepted (ms), head, extra (see publish.lib.lua; without a channel it is queued in any case) and
-- a request (see accept.lib.lua).
-- Stops at the first item that is no longer at the tail (another worker was faster), that finds
-- its lane full, or that can't be taken. Returns one verdict per item handled: {'dead'},
-- {'published'}, {'failed', why} or a verdict of accept().
local door, dead = KEYS[2], KEYS[3]
local out = publisher(KEYS[4], KEYS[5], 11)
local count = tonumber(ARGV[21])
redis.call('XLEN', dead)
local i = 22
while i <= #ARGV do
  if ARGV[i + 1] ~= '' then
    i = i + 2
  else
    if ARGV[i + 2] ~= '' then out.channel(ARGV[i + 2]) end
    i = i + 12 + 4 * ARGV[i + 11]
  end
end

local texts, taken, verdicts = redis.call('LRANGE', door, -count, -1), 0, {}
i = 22
while i <= #ARGV do
  local text, reason = ARGV[i], ARGV[i + 1]
  if texts[#texts - taken] ~= text then break end
  local verdict
  i = i + 2
  if reason ~= '' then
    redis.call('XADD', dead, 'MAXLEN', '~', ARGV[10], '*', 'reason', reason, 'lane', ARGV[9], 'job', text)
    out.bury(text, reason)
    verdict = {'dead'}
  else
    local first, at_once, done = i, nil, nil
    if ARGV[i] ~= '' then
      at_once = function() out.publish(ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3]) end
    end
    -- It may fail on keys that somebody else overwrote; the items before it must still be completed.
    done, verdict, i = pcall(accept, i + 4, at_once)
    if not done then
      verdicts[#verdicts + 1] = {'failed', type(verdict) == 'table' and verdict.err or tostring(verdict)}
      break
    end
  end
  verdicts[#verdicts + 1] = verdict
  if verdict[1] == 'full' then break end
  taken = taken + 1
end
if taken > 0 then redis.call('RPOP', door, taken) end
settle()
out.flush()
return verdicts
