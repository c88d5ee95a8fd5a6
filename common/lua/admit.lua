-- Take what was pushed by hand from the tail of a lane's open door.
-- KEYS[2] door, KEYS[3] dead; ARGV[7] lane, ARGV[8] about how many dead letters are kept,
-- ARGV[9..]: per item the exact text expected at the tail, a reason, then if the reason is empty
-- a request (see accept.lib.lua). An item with a reason goes to the dead letters.
-- Stops at the first item that is no longer at the tail (another worker was faster) or that finds
-- its lane full. Returns one verdict per item handled: {'dead'} or a verdict of accept().
local door, dead = KEYS[2], KEYS[3]
local verdicts, i = {}, 9
while i <= #ARGV do
  local text, reason = ARGV[i], ARGV[i + 1]
  if redis.call('LINDEX', door, -1) ~= text then break end
  i = i + 2
  if reason ~= '' then
    redis.call('XADD', dead, 'MAXLEN', '~', ARGV[8], '*', 'reason', reason, 'lane', ARGV[7], 'job', text)
    redis.call('RPOP', door)
    verdicts[#verdicts + 1] = {'dead'}
  else
    local verdict
    verdict, i = accept(i)
    verdicts[#verdicts + 1] = verdict
    if verdict[1] == 'full' then break end
    redis.call('RPOP', door)
  end
end
return verdicts
