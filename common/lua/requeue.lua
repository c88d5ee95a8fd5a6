-- Put one dead letter back. KEYS[2] dead; ARGV[7] its entry id, ARGV[8..] a request.
-- Returns {'gone'} when somebody else took it, else the verdict of accept().
if #redis.call('XRANGE', KEYS[2], ARGV[7], ARGV[7]) == 0 then return {'gone'} end
local verdict = accept(8)
settle()
if verdict[1] == 'ok' then redis.call('XDEL', KEYS[2], ARGV[7]) end
return verdict
