-- Put one dead letter back. KEYS[2] dead; ARGV[9] its entry id, ARGV[10..] a request.
-- Returns {'gone'} if somebody else took it, else the verdict of accept().
if #redis.call('XRANGE', KEYS[2], ARGV[9], ARGV[9]) == 0 then return {'gone'} end
local verdict = accept(10)
settle()
if verdict[1] == 'ok' then redis.call('XDEL', KEYS[2], ARGV[9]) end
return verdict
