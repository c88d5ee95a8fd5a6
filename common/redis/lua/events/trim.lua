-- Trim the event stream up to the last entry that every enabled reader has acknowledged. If it nears
-- its bound all the same, drop entries that only readers with the policy `drop` have not read.
-- KEYS: events, dropped, counts of clients. ARGV: bound (0: nothing is dropped), then per reader its
-- name and `refuse` or `drop`. Nothing is trimmed while a reader's group does not exist yet, nor
-- dropped while that is the group of a reader with `refuse`.
-- Returns entries that are left, then per reader how many it has not acknowledged (-1: no group),
-- how many were dropped now, how many in this episode, and 1 if the episode begins, 2 if it ends.
local events, dropped, shares, bound = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[1])
local NEARLY, ENOUGH, FEW, STEPS = 0.9, 0.85, 0.05, 16

local function typed(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind == wanted or kind == 'none' then return kind end
  -- Somebody overwrote the key. If it is the stream, nothing can be published until it is removed.
  redis.call('DEL', key)
  redis.log(redis.LOG_WARNING, 'roomcast: ' .. key .. ' was no ' .. wanted .. ', and was deleted')
  return 'none'
end

typed(dropped, 'hash')
typed(shares, 'hash')
local there = typed(events, 'stream') == 'stream'
local known, readers, out = {}, {}, {}
if there then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local g = {}
    for k = 1, #group, 2 do g[group[k]] = group[k + 1] end
    known[g['name']] = g
  end
end
local before_all = there and redis.call('XLEN', events) or 0
local safe, kept, missing, refuser_missing, drops = nil, nil, false, false, false
for k = 2, #ARGV, 2 do
  local reader = {name = ARGV[k], drops = ARGV[k + 1] == 'drop', now = 0, total = 0, state = 0}
  local group = known[reader.name]
  readers[#readers + 1] = reader
  drops = drops or reader.drops
  if not group then
    reader.at, reader.behind = '0-0', -1
    missing, refuser_missing = true, refuser_missing or not reader.drops
  else
    reader.at = group['last-delivered-id']
    reader.behind = math.min(tonumber(group['lag']) or before_all, before_all)
    if not safe or before(reader.at, safe) then safe = reader.at end
    if not reader.drops and (not kept or before(reader.at, kept)) then kept = reader.at end
  end
end

-- The entry at the position itself stays; it is only one.
if safe and not missing then redis.call('XTRIM', events, 'MINID', '=', safe) end
local left = there and redis.call('XLEN', events) or 0

local function first_entry() return redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1] end

if drops and bound > 0 and not refuser_missing and left >= NEARLY * bound then
  if not kept then
    local stream = redis.call('XINFO', 'STREAM', events)
    for k = 1, #stream, 2 do
      if stream[k] == 'last-generated-id' then kept = stream[k + 1] end
    end
  end
  local first, full = first_entry()[1], left
  if before(first, kept) then
    -- The oldest first, and none that a reader with `refuse` still has to read.
    local from, to = number(first), number(kept)
    for step = 1, STEPS - 1 do
      if redis.call('XLEN', events) <= ENOUGH * bound then break end
      redis.call('XTRIM', events, 'MINID', '=', string.format('%d', from + math.floor((to - from) * step / STEPS)))
    end
    if redis.call('XLEN', events) > ENOUGH * bound then redis.call('XTRIM', events, 'MINID', '=', kept) end
    left = redis.call('XLEN', events)
    local rest = first_entry()
    local until_id = rest and rest[1] or kept
    for _, reader in ipairs(readers) do
      local unread = reader.behind < 0 and full or math.min(reader.behind, full)
      reader.now = math.max(0, unread - left)
      if reader.drops and reader.now > 0 then
        local record = redis.call('HGET', dropped, reader.name)
        local count, after, since = string.match(record or '', '^(%d+) (%S+) %S+ (%d+)$')
        if not count then
          local time = redis.call('TIME')
          count, after, since = 0, reader.at, string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
          reader.state = 1
        end
        redis.call('HSET', dropped, reader.name,
          string.format('%d %s %s %s', count + reader.now, after, until_id, since))
      end
    end
  end
end

for _, reader in ipairs(readers) do
  local record = reader.drops and redis.call('HGET', dropped, reader.name)
  local count, after, until_id, since = string.match(record or '', '^(%d+) (%S+) (%S+) (%d+)$')
  if count then
    reader.total = tonumber(count)
    if known[reader.name] and not before(reader.at, until_id) then
      -- The reader has read on after the gap: the `dropped` event comes after it.
      reader.state = 2
      redis.call('XADD', events, '*', 'k', 'dropped', 'c', '', 'w', '', 'p', string.format(
        '{"reader":"%s","count":%s,"after":"%s","before":"%s","sinceMs":%s}',
        reader.name, count, after, until_id, since))
      redis.call('HDEL', dropped, reader.name)
    end
  end
  out[#out + 1] = reader.behind < 0 and -1 or math.min(reader.behind, left)
  out[#out + 1] = reader.now
  out[#out + 1] = reader.total
  out[#out + 1] = reader.state
end

-- The number of entries per client is approximate: all lose the same share of theirs.
if left < FEW * bound then
  redis.call('DEL', shares)
elseif left < before_all then
  local counts = redis.call('HGETALL', shares)
  for k = 1, #counts, 2 do
    local now = math.floor((tonumber(counts[k + 1]) or 0) * left / before_all)
    if now > 0 then
      redis.call('HSET', shares, counts[k], string.format('%d', now))
    else
      redis.call('HDEL', shares, counts[k])
    end
  end
end
return {left, unpack(out)}
