-- Trim the event stream up to what every enabled reader has acknowledged.
-- KEYS: events. ARGV: the groups. Nothing is trimmed while one of them is not there yet.
-- Returns entries that are left, then per group how many it has not acknowledged (-1: not there).

local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then
  -- Somebody wrote over it. Nothing can be published as long as it is there.
  redis.call('DEL', KEYS[1])
  redis.log(redis.LOG_WARNING, 'roomcast: ' .. KEYS[1] .. ' was no stream, and was deleted')
  kind = 'none'
end
if kind == 'none' then
  local none = {0}
  for k = 1, #ARGV do none[k + 1] = -1 end
  return none
end
local known = {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local g = {}
  for k = 1, #group, 2 do g[group[k]] = group[k + 1] end
  known[g['name']] = g
end
local safe, missing, behind = nil, false, {}
for k = 1, #ARGV do
  local g = known[ARGV[k]]
  if not g then
    missing, behind[k] = true, -1
  else
    local at = g['last-delivered-id']
    behind[k] = tonumber(g['lag']) or 0
    if not safe or before(at, safe) then safe = at end
  end
end
-- What is at the position itself stays; it is one entry.
if safe and not missing then redis.call('XTRIM', KEYS[1], 'MINID', '=', safe) end
return {redis.call('XLEN', KEYS[1]), unpack(behind)}
