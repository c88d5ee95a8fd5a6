-- Find partitions that have jobs but whose turn is neither ready nor held, and make turns for
-- those that were also found last time. It repairs the state after keys were deleted.
-- The counts of the lane's waiting jobs are corrected as well.
-- KEYS: workers, ready, active, waiting, backlog. ARGV: lane, prefixes of the lane's job lists and of held,
-- number of partitions, then the partitions found last time.
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
local jobs = 0
for n = 0, ARGV[4] - 1 do
  local p = string.format('%d', n)
  local length = redis.call('LLEN', jobs_prefix .. p)
  jobs = jobs + length
  if not placed[p] and length > 0 then
    if before[p] then
      redis.call('SADD', active, p)
      redis.call('LPUSH', ready, p)
      healed = healed + 1
    else
      found[#found + 1] = p
    end
  end
end
if tonumber(redis.call('HGET', KEYS[4], lane) or 0) ~= jobs then
  redis.call('HSET', KEYS[4], lane, string.format('%d', jobs))
end
if jobs == 0 then
  for _, field in ipairs(redis.call('HKEYS', KEYS[5])) do
    if string.sub(field, 1, #lane + 1) == lane .. '/' then redis.call('HDEL', KEYS[5], field) end
  end
  -- If no lane has jobs left, no bytes are expected.
  local left = redis.call('HKEYS', KEYS[5])
  if #left == 1 and left[1] == 'bytes' then redis.call('DEL', KEYS[5]) end
end
return {found, healed}
