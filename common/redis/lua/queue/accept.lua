-- Accept requests, each as a whole. ARGV[9..]: the requests (see accept.lib.lua).
-- Returns one verdict per request.
local verdicts, i = {}, 9
while i <= #ARGV do
  verdicts[#verdicts + 1], i = accept(i)
end
settle()
return verdicts
