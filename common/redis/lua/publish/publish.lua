-- Release turns and, if they were still held, publish their jobs: once, in order, in one step.
-- KEYS: epoch, held, ready, active, waiting, returns, events, dead, contents, backlog.
-- ARGV: lane, prefix of the lane's job lists, about how many dead letters are kept, ten as
-- publish.lib.lua has them, prefix of shared contents, n, n times: digest and content; then per turn:
-- partition, jobs done, their weights (bytes once published), c, c times: client and number of its
-- jobs; n, and n times: scoped channel, accepted (ms), head, extra (see publish.lib.lua).
-- An entry with an empty accepted time expired and is only an event: its head is complete. One with
-- the accepted time `dead` is not a job: its head is the text found, its extra the reason.
-- Returns publications, turns that were no longer held.
local held, ready, active, waiting = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local returns, dead = KEYS[6], KEYS[8]
local lane, jobs_prefix, dead_max = ARGV[1], ARGV[2], ARGV[3]
local content_prefix, contents, i = ARGV[14], {}, 16 + 2 * ARGV[15]
for k = 16, i - 1, 2 do contents[ARGV[k]] = ARGV[k + 1] end
local shared = next(contents) and {contents = contents, index = KEYS[9]} or nil
local out = publisher(KEYS[1], KEYS[7], 4, shared)

-- Lua does not roll back: keys that somebody else may have overwritten are read first, or are the
-- first to be written.
redis.call('HGET', waiting, lane)
redis.call('HLEN', KEYS[10])
local returned = redis.call('HLEN', returns) > 0
local still_held, turns, again, idle, lost, buries = {}, {}, {}, {}, 0, false
local of_loop = redis.call('LRANGE', held, 0, -1)
for _, partition in ipairs(of_loop) do still_held[partition] = true end
while i <= #ARGV do
  local partition, clients = ARGV[i], i + 4
  local at = clients + 2 * ARGV[i + 3]
  local last = at + 4 * ARGV[at]
  if still_held[partition] then
    local done = tonumber(ARGV[i + 1])
    turns[#turns + 1] = {partition = partition, done = done, weight = tonumber(ARGV[i + 2]),
      clients = clients, first = at + 1, last = last}
    local rest = redis.call('LLEN', jobs_prefix .. partition) > done and again or idle
    rest[#rest + 1] = partition
    for k = at + 1, last, 4 do
      local accepted = ARGV[k + 1]
      if accepted == 'dead' then
        buries = true
      elseif accepted ~= '' then
        out.channel(ARGV[k])
      end
    end
  else
    lost = lost + 1
  end
  i = last + 1
end

if buries then redis.call('XLEN', dead) end
if #again > 0 then redis.call('LLEN', ready) end
if shared then redis.call('ZCARD', KEYS[9]) end

if #idle > 0 then redis.call('SREM', active, unpack(idle)) end
if #turns == #of_loop then
  redis.call('DEL', held)
else
  for _, turn in ipairs(turns) do redis.call('LREM', held, 1, turn.partition) end
end

local published, removed, kept, weight, of_clients = 0, 0, {}, 0, {}

-- Store a content when the first publication of a held turn refers to it.
local function keep(extra)
  local digest = string.match(extra, '^@(%x+):')
  if kept[digest] then return end
  kept[digest] = true
  if redis.call('EXISTS', content_prefix .. digest) == 0 then
    redis.call('SET', content_prefix .. digest, contents[digest])
  end
end

for _, turn in ipairs(turns) do
  for k = turn.first, turn.last, 4 do
    local name, accepted, head, extra = ARGV[k], ARGV[k + 1], ARGV[k + 2], ARGV[k + 3]
    if accepted == '' then
      out.expire(name, head)
    elseif accepted == 'dead' then
      redis.call('XADD', dead, 'MAXLEN', '~', dead_max, '*', 'reason', extra, 'lane', lane, 'job', head)
      out.bury(head, extra)
    else
      if shared and string.byte(extra, 1) == 64 then keep(extra) end
      out.publish(name, accepted, head, extra)
      published = published + 1
    end
  end
  local partition = turn.partition
  if turn.done > 0 then redis.call('LTRIM', jobs_prefix .. partition, 0, -turn.done - 1) end
  removed, weight = removed + turn.done, weight + turn.weight
  for k = turn.clients, turn.first - 3, 2 do
    of_clients[ARGV[k]] = (of_clients[ARGV[k]] or 0) + ARGV[k + 1]
  end
  if returned then redis.call('HDEL', returns, lane .. ':' .. partition) end
end
local function less(field, by)
  if redis.call('HINCRBY', KEYS[10], field, string.format('%d', -by)) <= 0 then
    redis.call('HDEL', KEYS[10], field)
  end
end

if removed > 0 then
  redis.call('HINCRBY', waiting, lane, -removed)
  for client, count in pairs(of_clients) do less(lane .. '/' .. client, count) end
  if weight > 0 then less('bytes', weight) end
end
if #again > 0 then redis.call('LPUSH', ready, unpack(again)) end

out.flush()
return {published, lost}
