-- Redeem tickets, each of them once.
-- KEYS: the tickets. ARGV: prefix of the sets of tickets, then the names of these.
-- Returns the stored value of each, or nothing. A value begins with its client, a slash and its
-- user, on a line of their own.
local kept, sets, seen = {}, {}, {}
local function is_a(kind, key)
  return redis.call('TYPE', key)['ok'] == kind
end

for k = 1, #KEYS do
  kept[k] = false
  -- If two use the same ticket at once, the first one gets it.
  if not seen[KEYS[k]] and is_a('string', KEYS[k]) then
    seen[KEYS[k]] = true
    kept[k] = redis.call('GET', KEYS[k])
    local user = string.match(kept[k], '^([^\n]*)\n')
    local client = user and string.match(user, '^([^/]*)/')
    for _, owner in ipairs({client, user}) do
      local set = ARGV[1] .. owner
      if is_a('zset', set) then sets[#sets + 1] = {set, ARGV[k + 1]} end
    end
  end
end

for k = 1, #KEYS do
  if kept[k] then redis.call('DEL', KEYS[k]) end
end
for _, one in ipairs(sets) do redis.call('ZREM', one[1], one[2]) end
return kept
