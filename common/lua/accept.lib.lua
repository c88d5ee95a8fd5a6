-- Shared by accept.lua, admit.lua and requeue.lua: queue jobs on partitioned lists and make turns.
-- KEYS[1] waiting; ARGV[1..4] prefixes of jobs, ready, active, accepted; ARGV[5] lane bound (jobs);
-- ARGV[6] seconds for which an id or idempotency key is remembered.
local waiting_key = KEYS[1]
local jobs_prefix, ready_prefix, active_prefix, accepted_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lane_max, remember_s = tonumber(ARGV[5]), ARGV[6]

-- One request, taken or refused as a whole. Its arguments start at ARGV[i]:
--   key, fingerprint, answer, n, then n times: lane, partition, job.
-- Returns the verdict ({'ok'}, {'replay', answer}, {'conflict'} or {'full', lane}) and the next i.
local function accept(i)
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
  -- Lua does not roll back: everything that can fail is read before the first write.
  local more = {}
  for k = first, after - 1, 3 do
    local lane = ARGV[k]
    more[lane] = (more[lane] or 0) + 1
    redis.call('LLEN', jobs_prefix .. lane .. ':' .. ARGV[k + 1])
  end
  for lane, count in pairs(more) do
    redis.call('SCARD', active_prefix .. lane)
    redis.call('LLEN', ready_prefix .. lane)
    if tonumber(redis.call('HGET', waiting_key, lane) or 0) + count > lane_max then
      return {'full', lane}, after
    end
  end
  for lane, count in pairs(more) do redis.call('HINCRBY', waiting_key, lane, count) end
  for k = first, after - 1, 3 do
    local lane, partition = ARGV[k], ARGV[k + 1]
    redis.call('LPUSH', jobs_prefix .. lane .. ':' .. partition, ARGV[k + 2])
    if redis.call('SADD', active_prefix .. lane, partition) == 1 then
      redis.call('LPUSH', ready_prefix .. lane, partition)
    end
  end
  if key ~= '' then
    redis.call('SET', accepted_prefix .. key, fingerprint .. ' ' .. answer, 'EX', remember_s)
  end
  return {'ok'}, after
end
