-- Shared by accept.lua, admit.lua and requeue.lua: queue jobs on partitioned lists and make turns.
-- Nothing is written before settle(), but what at_once() writes; what can fail is read before.
-- KEYS[1] waiting; ARGV[1..4] prefixes of jobs, ready, active, accepted; ARGV[5] lane bound (jobs);
-- ARGV[6] seconds for which an id or idempotency key is remembered.
local waiting_key = KEYS[1]
local jobs_prefix, ready_prefix, active_prefix, accepted_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lane_max, remember_s = tonumber(ARGV[5]), ARGV[6]

-- What this call has read, once each, and will write: by lane the jobs that wait, those that are
-- added and the partitions that get turns; by list of jobs how many it holds, whether its partition
-- has a turn, and the jobs that are added; by key what is remembered.
local lanes, lists, order, kept = {}, {}, {}, {}

local function look(name, partition)
  local lane = lanes[name]
  if not lane then
    redis.call('LLEN', ready_prefix .. name)
    lane = {waiting = tonumber(redis.call('HGET', waiting_key, name) or 0), added = 0, turns = {}}
    lanes[name] = lane
  end
  local spot = name .. ':' .. partition
  local list = lists[spot]
  if not list then
    list = {key = jobs_prefix .. spot, jobs = redis.call('LLEN', jobs_prefix .. spot),
      active = redis.call('SISMEMBER', active_prefix .. name, partition) == 1, added = {}}
    lists[spot], order[#order + 1] = list, list
  end
  return lane, list
end

-- One request, taken or refused as a whole. Its arguments start at ARGV[i]:
--   key, fingerprint, answer, n, then n times: lane, partition, job.
-- With at_once, a request of one job that nothing waits ahead of is not queued: at_once() is called.
-- A request without jobs came too late, and only asks whether its key was accepted in time.
-- Returns the verdict ({'ok'}, {'published'}, {'replay', answer}, {'conflict'}, {'late'} or
-- {'full', lane}) and the next i.
local function accept(i, at_once)
  local key, fingerprint, answer, n = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local first, after = i + 4, i + 4 + 3 * n
  if key ~= '' then
    local seen = kept[key] or redis.call('GET', accepted_prefix .. key)
    if seen then
      local space = string.find(seen, ' ', 1, true)
      if string.sub(seen, 1, space - 1) ~= fingerprint then return {'conflict'}, after end
      -- The same value again: a write, so that a WAITAOF behind this script covers the first one.
      redis.call('SET', accepted_prefix .. key, seen, 'KEEPTTL')
      return {'replay', string.sub(seen, space + 1)}, after
    end
  end
  if n == 0 then return {'late'}, after end
  local more = {}
  for k = first, after - 1, 3 do
    look(ARGV[k], ARGV[k + 1])
    more[ARGV[k]] = (more[ARGV[k]] or 0) + 1
  end
  for name, count in pairs(more) do
    if lanes[name].waiting + lanes[name].added + count > lane_max then return {'full', name}, after end
  end
  local verdict, only = {'ok'}, at_once and n == 1 and select(2, look(ARGV[first], ARGV[first + 1]))
  if only and only.jobs == 0 and #only.added == 0 and not only.active then
    verdict = {'published'}
    at_once()
  else
    for k = first, after - 1, 3 do
      local lane, list = look(ARGV[k], ARGV[k + 1])
      lane.added = lane.added + 1
      list.added[#list.added + 1] = ARGV[k + 2]
      if not list.active then
        list.active = true
        lane.turns[#lane.turns + 1] = ARGV[k + 1]
      end
    end
  end
  if key ~= '' then kept[key] = fingerprint .. ' ' .. answer end
  return verdict, after
end

-- unpack() takes no more than a few thousand.
local UNPACKED = 1000

local function push(list, values)
  for k = 1, #values, UNPACKED do
    redis.call('LPUSH', list, unpack(values, k, math.min(k + UNPACKED - 1, #values)))
  end
end

-- Write what was accepted.
local function settle()
  for _, list in ipairs(order) do push(list.key, list.added) end
  for name, lane in pairs(lanes) do
    if lane.added > 0 then redis.call('HINCRBY', waiting_key, name, lane.added) end
    -- There are fewer partitions than unpack() takes.
    if #lane.turns > 0 then redis.call('SADD', active_prefix .. name, unpack(lane.turns)) end
    push(ready_prefix .. name, lane.turns)
  end
  for key, value in pairs(kept) do
    redis.call('SET', accepted_prefix .. key, value, 'EX', remember_s)
  end
end
