-- Moving a group's position on, shared by advance.lua and mirrored.lua.
local function fields(reply)
  local found = {}
  for k = 1, #reply, 2 do found[reply[k]] = reply[k + 1] end
  return found
end

-- Move the position of a group to the last entry of a run that was handed out right after it.
-- Returns 1 if it moved, 0 if it was there or further on already, -1 if there is no such group.
local function advance(events, name, last, count)
  if redis.call('EXISTS', events) == 0 then return -1 end
  local group
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local found = fields(reply)
    if found['name'] == name then group = found end
  end
  if not group then return -1 end
  if not before(group['last-delivered-id'], last) then return 0 end
  -- Number of entries up to the position, for the lag that Redis reports.
  local stream = fields(redis.call('XINFO', 'STREAM', events))
  local added, read = tonumber(stream['entries-added']), tonumber(group['entries-read'])
  if not read and group['lag'] then read = added - tonumber(group['lag']) end
  if last == stream['last-generated-id'] then
    read = added
  elseif read then
    read = math.min(read + tonumber(count), added)
  end
  if read then
    redis.call('XGROUP', 'SETID', events, name, last, 'ENTRIESREAD', string.format('%d', read))
  else
    redis.call('XGROUP', 'SETID', events, name, last)
  end
  return 1
end
