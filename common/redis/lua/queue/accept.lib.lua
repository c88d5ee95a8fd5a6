-- Shared by accept.lua, admit.lua and requeue.lua: queue jobs on partitioned lists and make turns.
-- Nothing is written before settle(), except by at_once(); everything that can fail is read before.
-- KEYS[1] waiting; ARGV[1..4] prefixes of jobs, ready, active, accepted; ARGV[5] lane bound (jobs);
-- ARGV[6] seconds for which an id or idempotency key is remembered; ARGV[7] backlog; ARGV[8] bytes
-- that all waiting jobs together may grow to when they are published (empty: any number).
local waiting_key = KEYS[1]
local jobs_prefix, ready_prefix, active_prefix, accepted_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lane_max, remember_s = tonumber(ARGV[5]), ARGV[6]
local backlog, room = ARGV[7], tonumber(ARGV[8])

-- State that this call has read (once each) and will write: by lane the waiting jobs, the added ones
-- and the partitions that get turns, by partition its list of jobs, by client the share; of a list
-- its length, whether its partition has a turn, and the added jobs; of a share, under `high/c` in the
-- backlog, that client's waiting and added jobs. By key the value that is remembered.
local lanes, order, shares, kept = {}, {}, {}, {}
-- Bytes that waiting and added jobs will grow to.
local growth, grown = nil, 0
redis.call('HLEN', backlog)

local function lane_of(name)
  local lane = lanes[name]
  if not lane then
    redis.call('LLEN', ready_prefix .. name)
    lane = {name = name, waiting = tonumber(redis.call('HGET', waiting_key, name) or 0), added = 0,
      turns = {}, lists = {}, shares = {}}
    lanes[name] = lane
  end
  return lane
end

local function list_of(lane, partition)
  local list = lane.lists[partition]
  if not list then
    local key = jobs_prefix .. lane.name .. ':' .. partition
    list = {key = key, jobs = redis.call('LLEN', key),
      active = redis.call('SISMEMBER', active_prefix .. lane.name, partition) == 1, added = {}}
    lane.lists[partition], order[#order + 1] = list, list
  end
  return list
end

local function share_of(lane, client)
  local share = lane.shares[client]
  if not share then
    local field = lane.name .. '/' .. client
    share = {field = field, waiting = tonumber(redis.call('HGET', backlog, field) or 0), added = 0}
    lane.shares[client], shares[#shares + 1] = share, share
  end
  return share
end

-- Return why n more jobs of a client don't fit into a lane, or nil.
local function refusal(lane, client, most, n)
  if lane.waiting + lane.added + n > lane_max then return {'full', lane.name} end
  local share = share_of(lane, client)
  if most > 0 and share.waiting + share.added + n > most then return {'client-full', lane.name} end
end

-- Accept one request, as a whole or not at all. Its arguments start at ARGV[i]:
--   key, fingerprint, answer, client, most jobs of it in a lane (0: any number), n, then n times:
--   lane, partition, job, bytes that it will grow to.
-- With at_once, a request of one job with nothing ahead of it is not queued: at_once() is called.
-- A request without jobs came too late, and only checks whether its key was accepted in time.
-- Returns the verdict ({'ok'}, {'published'}, {'replay', answer}, {'conflict'}, {'late'},
-- {'full', lane}, {'client-full', lane} or {'no-room'}) and the next i.
local function accept(i, at_once)
  local key, fingerprint, answer, client = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local most, n = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local first, after = i + 6, i + 6 + 4 * n
  if key ~= '' then
    local seen = kept[key] or redis.call('GET', accepted_prefix .. key)
    if seen then
      local space = string.find(seen, ' ', 1, true)
      if string.sub(seen, 1, space - 1) ~= fingerprint then return {'conflict'}, after end
      -- Write the same value again, so that a WAITAOF after this script covers the first write.
      redis.call('SET', accepted_prefix .. key, seen, 'KEEPTTL')
      return {'replay', string.sub(seen, space + 1)}, after
    end
  end
  if n == 0 then return {'late'}, after end
  local lane, weight, refused = lane_of(ARGV[first]), 0, nil
  if n == 1 then
    list_of(lane, ARGV[first + 1])
    weight, refused = tonumber(ARGV[first + 3]), refusal(lane, client, most, 1)
  else
    local more = {}
    for k = first, after - 1, 4 do
      lane = lane_of(ARGV[k])
      list_of(lane, ARGV[k + 1])
      more[lane] = (more[lane] or 0) + 1
      weight = weight + ARGV[k + 3]
    end
    for those, count in pairs(more) do refused = refused or refusal(those, client, most, count) end
  end
  if refused then return refused, after end
  if room then
    growth = growth or tonumber(redis.call('HGET', backlog, 'bytes') or 0)
    if growth + grown + weight > room then return {'no-room'}, after end
  end
  local verdict, only = {'ok'}, at_once and n == 1 and list_of(lane, ARGV[first + 1])
  if only and only.jobs == 0 and #only.added == 0 and not only.active then
    verdict = {'published'}
    at_once()
  else
    grown = grown + weight
    for k = first, after - 1, 4 do
      lane = lane_of(ARGV[k])
      local partition, share = ARGV[k + 1], share_of(lane, client)
      local list = list_of(lane, partition)
      lane.added, share.added = lane.added + 1, share.added + 1
      list.added[#list.added + 1] = ARGV[k + 2]
      if not list.active then
        list.active = true
        lane.turns[#lane.turns + 1] = partition
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
  for _, share in ipairs(shares) do
    if share.added > 0 then redis.call('HINCRBY', backlog, share.field, share.added) end
  end
  if grown > 0 then redis.call('HINCRBY', backlog, 'bytes', string.format('%d', grown)) end
  for key, value in pairs(kept) do
    redis.call('SET', accepted_prefix .. key, value, 'EX', remember_s)
  end
end
