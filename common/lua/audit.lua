-- Find partitions that have jobs but whose turn is neither ready nor held, and make turns for
-- those that were found the time before as well. It heals what deleted keys leave behind.
-- KEYS: workers, ready, active. ARGV: lane, prefixes of the lane's job lists and of held,
-- number of partitions, then the partitions found the time before.
-- Returns the partitions found now and not healed, then the number healed.
local workers, ready, active = KEYS[1], KEYS[2], KEYS[3]
local lane, jobs_prefix, held_prefix = ARGV[1], ARGV[2], ARGV[3]
local placed, before, found, healed = {}, {}, {}, 0
for _, p in ipairs(redis.call('LRANGE', ready, 0, -1)) do placed[p] = true end
for _, holder in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
  if string.match(holder, ':(%a+)%.') == lane then
    for _, p in ipairs(redis.call('LRANGE', held_prefix .. holder, 0, -1)) do placed[p] = true end
  end
end
for k = 5, #ARGV do before[ARGV[k]] = true end
for n = 0, ARGV[4] - 1 do
  local p = string.format('%d', n)
  if not placed[p] and redis.call('LLEN', jobs_prefix .. p) > 0 then
    if before[p] then
      redis.call('SADD', active, p)
      redis.call('LPUSH', ready, p)
      healed = healed + 1
    else
      found[#found + 1] = p
    end
  end
end
return {found, healed}
