-- Find which of some notifications a user was sent recently, as far as Redis knows. Writes nothing.
-- KEYS: the user's unread notifications, last reads, last acknowledgements. ARGV: prefix of logs, most
-- entries and bytes of logs to look at, number of ids, the ids, then scoped channels.
-- Returns the ids that were found, and for each channel those that were seen in its log.
local prefix, entries, bytes, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found, wanted, seen = {}, {}, {}
for k = 5, 4 + count do
  local id = ARGV[k]
  if redis.call('ZSCORE', KEYS[1], id) or redis.call('ZSCORE', KEYS[2], id) or redis.call('ZSCORE', KEYS[3], id) then
    found[#found + 1] = id
  else
    wanted[id] = true
  end
end

local function id_of(entry)
  local id = string.match(string.sub(entry, 1, 512), '\n{"type":"%a+","id":"([^"]*)"')
  if id and not string.find(id, '\\', 1, true) then return id end
  local read, text = pcall(cjson.decode, string.match(entry, '\n(.*)') or '')
  return read and type(text) == 'table' and text.id
end

-- The latest is reported first.
for k = 5 + count, #ARGV do
  local log = prefix .. ARGV[k]
  local last, ids = redis.call('LLEN', log) - 1, {}
  while last >= 0 and entries > 0 and bytes > 0 do
    local run = redis.call('LRANGE', log, math.max(0, last - 15), last)
    for i = #run, 1, -1 do
      local id = id_of(run[i])
      if type(id) == 'string' then
        ids[#ids + 1] = id
        if wanted[id] then found[#found + 1], wanted[id] = id, nil end
      end
      entries, bytes = entries - 1, bytes - #run[i]
    end
    last = last - 16
  end
  seen[#seen + 1] = ids
end
return {found, seen}
