-- Move a group's position on, to the last entry of a run that was handed out right behind it.
-- KEYS: events. ARGV: group, id of the last entry, number of entries.
-- Returns 1 if it was moved, 0 if it was there or further on already, -1 if there is no such group.
local function fields(reply)
  local found = {}
  for k = 1, #reply, 2 do found[reply[k]] = reply[k + 1] end
  return found
end

if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local group
for _, reply in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local found = fields(reply)
  if found['name'] == ARGV[1] then group = found end
end
if not group then return -1 end
if not before(group['last-delivered-id'], ARGV[2]) then return 0 end
-- How many entries there were up to the position, for the lag that Redis tells.
local stream = fields(redis.call('XINFO', 'STREAM', KEYS[1]))
local added, read = tonumber(stream['entries-added']), tonumber(group['entries-read'])
if not read and group['lag'] then read = added - tonumber(group['lag']) end
if ARGV[2] == stream['last-generated-id'] then
  read = added
elseif read then
  read = math.min(read + tonumber(ARGV[3]), added)
end
if read then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2], 'ENTRIESREAD', string.format('%d', read))
else
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2])
end
return 1
