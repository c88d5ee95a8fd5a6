-- Shared by accept.lua, admit.lua and requeue.lua: queue jobs on partitioned lists and make turns.
-- KEYS[1] waiting; ARGV[1..4] prefixes of jobs, ready, active, accepted; ARGV[5] lane bound (jobs);
-- ARGV[6] seconds for which an id or idempotency key is remembered.
local waiting_key = KEYS[1]
local jobs_prefix, ready_prefix, active_prefix, accepted_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lane_max, remember_s = tonumber(ARGV[5]), ARGV[6]

-- What this call has read and written so far: jobs that wait by lane, and by list of jobs how many
-- it holds and whether its partition has a turn. Read once each; what can fail is read first.
local waiting, lists = {}, {}

local function look(lane, partition)
  if not waiting[lane] then
    redis.call('LLEN', ready_prefix .. lane)
    waiting[lane] = tonumber(redis.call('HGET', waiting_key, lane) or 0)
  end
  local spot = lane .. ':' .. partition
  local list = lists[spot]
  if not list then
    list = {key = jobs_prefix .. spot, jobs = redis.call('LLEN', jobs_prefix .. spot),
      active = redis.call('SISMEMBER', active_prefix .. lane, partition) == 1}
    lists[spot] = list
  end
  return list
end

-- One request, taken or refused as a whole. Its arguments start at ARGV[i]:
--   key, fingerprint, answer, n, then n times: lane, partition, job.
-- With at_once, a request of one job that nothing waits ahead of is not queued: at_once() is called.
-- Returns the verdict ({'ok'}, {'published'}, {'replay', answer}, {'conflict'} or {'full', lane})
-- and the next i.
local function accept(i, at_once)
  local key, fingerprint, answer, n = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local first, after = i + 4, i + 4 + 3 * n
  if key ~= '' then
    local seen = redis.call('GET', accepted_prefix .. key)
    if seen then
      local space = string.find(seen, ' ', 1, true)
      if string.sub(seen, 1, space - 1) ~= fingerprint then return {'conflict'}, after end
      -- The same value again: a write, so that a WAITAOF behind this script covers the first one.
      redis.call('SET', accepted_prefix .. key, seen, 'KEEPTTL')
      return {'replay', string.sub(seen, space + 1)}, after
    end
  end
  local more = {}
  for k = first, after - 1, 3 do
    look(ARGV[k], ARGV[k + 1])
    more[ARGV[k]] = (more[ARGV[k]] or 0) + 1
  end
  for lane, count in pairs(more) do
    if waiting[lane] + count > lane_max then return {'full', lane}, after end
  end
  local verdict, list = {'ok'}, at_once and n == 1 and look(ARGV[first], ARGV[first + 1])
  if list and list.jobs == 0 and not list.active then
    verdict = {'published'}
    at_once()
  else
    for lane, count in pairs(more) do
      waiting[lane] = waiting[lane] + count
      redis.call('HINCRBY', waiting_key, lane, count)
    end
    for k = first, after - 1, 3 do
      local lane, partition = ARGV[k], ARGV[k + 1]
      list = look(lane, partition)
      list.jobs = list.jobs + 1
      redis.call('LPUSH', list.key, ARGV[k + 2])
      if not list.active then
        list.active = true
        redis.call('SADD', active_prefix .. lane, partition)
        redis.call('LPUSH', ready_prefix .. lane, partition)
      end
    end
  end
  if key ~= '' then
    redis.call('SET', accepted_prefix .. key, fingerprint .. ' ' .. answer, 'EX', remember_s)
  end
  return verdict, after
end
