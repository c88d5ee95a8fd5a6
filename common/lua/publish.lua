-- Give up turns and, where they were still held, publish their jobs: once, in order, in one step.
-- KEYS: epoch, held, ready, active, waiting, returns, events, dead.
-- ARGV: lane, prefixes of the lane's job lists, of channels, logs and pub/sub, a new epoch if one
-- is needed, most log entries, log seconds, channel seconds, about how many events, about how many
-- dead letters, worker; then per turn: partition, jobs done, n, and n times: scoped channel, accepted (ms), head, extra.
-- A head is JSON text up to the epoch's value. An entry with an empty accepted time is an event
-- that nobody is sent (it expired): its head is complete. One with the accepted time `dead` is no
-- job: its head is the text found, its extra the reason. Else an extra is JSON that is kept with the
-- event, or empty.
-- Returns publications, turns that were no longer held.
local held, ready, active, waiting = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local returns, events, dead = KEYS[6], KEYS[7], KEYS[8]
local lane, jobs_prefix, channel_prefix, log_prefix, pub_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local candidate, log_max, log_s, channel_s = ARGV[6], tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local events_max, dead_max, worker = ARGV[10], ARGV[11], ARGV[12]

-- Lua does not roll back: what can fail because somebody else wrote a key is read first.
redis.call('LLEN', ready)
redis.call('SCARD', active)
redis.call('HGET', waiting, lane)
redis.call('HLEN', returns)
redis.call('XLEN', events)
redis.call('XLEN', dead)

local shard = shard_epoch(KEYS[1], candidate, channel_s / 2)
local channels, order = {}, {}

-- The channel's position, moved on to a new epoch if the server run changed since its last one.
local function channel(name)
  local state = channels[name]
  if state then return state end
  local seen = redis.call('HMGET', channel_prefix .. name, 'e', 'o', 'r')
  state = {name = name, log = {}, base = '-'}
  if seen[3] == shard.run then
    state.epoch, state.offset = seen[1], tonumber(seen[2])
  else
    state.epoch, state.ended = shard.epoch, seen[1] or shard.before
    state.offset = tonumber(seen[2] or 0)
    state.ended_at = state.offset
    if state.ended ~= '' then
      state.base = state.ended .. ':' .. string.format('%d', state.offset)
    end
    state.forgotten = not seen[1]
  end
  redis.call('LLEN', log_prefix .. name)
  channels[name], order[#order + 1] = state, state
  return state
end

-- All of them before the first write, for the same reason.
local i = 13
while i <= #ARGV do
  redis.call('LLEN', jobs_prefix .. ARGV[i])
  local last = i + 2 + 4 * ARGV[i + 2]
  for k = i + 3, last, 4 do
    if ARGV[k + 1] ~= '' and ARGV[k + 1] ~= 'dead' then channel(ARGV[k]) end
  end
  i = last + 1
end

local published, lost = 0, 0
i = 13
while i <= #ARGV do
  local partition, done, n = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  i = i + 3
  if redis.call('LREM', held, 1, partition) == 0 then
    lost = lost + 1
    i = i + 4 * n
  else
    for k = i, i + 4 * n - 1, 4 do
      local name, accepted, head, extra = ARGV[k], ARGV[k + 1], ARGV[k + 2], ARGV[k + 3]
      if accepted == '' then
        redis.call('XADD', events, 'MAXLEN', '~', events_max, '*', 'k', 'expired', 'c', name, 'w', worker, 'p', head)
      elseif accepted == 'dead' then
        redis.call('XADD', dead, 'MAXLEN', '~', dead_max, '*', 'reason', extra, 'lane', lane, 'job', head)
      else
        local state = channel(name)
        state.offset = state.offset + 1
        local offset = string.format('%d', state.offset)
        local text = head .. state.epoch .. '","offset":' .. offset .. '}'
        local payload = state.epoch .. ' ' .. offset .. ' ' .. accepted .. ' ' .. state.base .. '\n' .. text
        state.base = '-'
        state.log[#state.log + 1] = payload
        redis.call('PUBLISH', pub_prefix .. name, payload)
        if extra == '' then
          redis.call('XADD', events, 'MAXLEN', '~', events_max, '*', 'k', 'published', 'c', name, 'w', worker, 'p', text)
        else
          redis.call('XADD', events, 'MAXLEN', '~', events_max, '*', 'k', 'published', 'c', name, 'w', worker, 'p', text, 'x', extra)
        end
        published = published + 1
      end
    end
    i = i + 4 * n
    local jobs = jobs_prefix .. partition
    if done > 0 then
      redis.call('LTRIM', jobs, 0, -done - 1)
      redis.call('HINCRBY', waiting, lane, -done)
    end
    redis.call('HDEL', returns, lane .. ':' .. partition)
    if redis.call('LLEN', jobs) > 0 then
      redis.call('LPUSH', ready, partition)
    else
      redis.call('SREM', active, partition)
    end
  end
end

for _, state in ipairs(order) do
  local hash, log = channel_prefix .. state.name, log_prefix .. state.name
  if #state.log > 0 then
    if state.ended then
      redis.call('HSET', hash, 'e', state.epoch, 'o', string.format('%d', state.offset), 'r', shard.run,
        'p', state.ended, 'q', string.format('%d', state.ended_at))
    else
      redis.call('HSET', hash, 'o', string.format('%d', state.offset))
    end
    redis.call('EXPIRE', hash, channel_s)
    if state.forgotten then redis.call('DEL', log) end
    if redis.call('RPUSH', log, unpack(state.log)) > log_max then redis.call('LTRIM', log, -log_max, -1) end
    redis.call('EXPIRE', log, log_s)
  end
end
return {published, lost}
