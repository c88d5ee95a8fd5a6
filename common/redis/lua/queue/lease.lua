-- Renew leases and put the turns of expired ones back.
-- A condemned job goes to the dead letters of its own client, where those of others can't push it out.
-- KEYS: workers, returns, waiting, dead, events, backlog, dead_clients. ARGV: lease (ms), for how long (ms) an expired holder is
-- watched on, prefixes of held, ready, active and jobs, returns in a row that condemn a job, about
-- how many dead letters are kept, n, n holders to renew, then holders to give up at once.
-- Returns turns put back, jobs sent to the dead letters, whether each renewed holder was still
-- listed with a valid lease (0 or 1), and of each dead letter its client ('' if it has none).
local workers, returns, waiting, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease, watched = tonumber(ARGV[1]), tonumber(ARGV[2])
local held_prefix, ready_prefix, active_prefix, jobs_prefix = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local condemned, dead_max, n = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HLEN', returns)
redis.call('HLEN', waiting)
redis.call('XLEN', dead)
redis.call('XLEN', KEYS[5])
redis.call('HLEN', KEYS[6])
redis.call('SCARD', KEYS[7])

local function bury(client, reason, lane, job)
  local letter = {'MAXLEN', '~', dead_max, '*', 'reason', reason, 'lane', lane, 'job', job}
  if client ~= '' and client ~= 'default' then
    redis.call('SADD', KEYS[7], client)
    -- Somebody may have overwritten it.
    if type(redis.pcall('XADD', dead .. ':' .. client, unpack(letter))) == 'string' then return end
  end
  redis.call('XADD', dead, unpack(letter))
end

local back, died, given_up, valid, clients = 0, 0, {}, {}, {}
for k = 10, 9 + n do
  local score = redis.call('ZSCORE', workers, ARGV[k])
  valid[#valid + 1] = (score and tonumber(score) >= now) and 1 or 0
  redis.call('ZADD', workers, now + lease, ARGV[k])
end
for k = 10 + n, #ARGV do
  given_up[ARGV[k]] = true
  redis.call('ZADD', workers, now - 1, ARGV[k])
end

for _, holder in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', '(' .. now)) do
  local lane = string.match(holder, ':(%a+)%.')
  while lane do
    local partition = redis.call('RPOP', held_prefix .. holder)
    if not partition then break end
    back = back + 1
    local jobs, spot = jobs_prefix .. lane .. ':' .. partition, lane .. ':' .. partition
    -- A lost connection is not the job's fault; a holder that stopped renewing may be.
    if not given_up[holder] and redis.call('HINCRBY', returns, spot, 1) >= condemned then
      local job = redis.call('RPOP', jobs)
      if job then
        local reason = string.format('its turn came back %d times in a row', condemned)
        redis.call('XADD', KEYS[5], '*', 'k', 'dead', 'c', '', 'w', '', 'p', job, 'x', reason)
        redis.call('HINCRBY', waiting, lane, -1)
        died = died + 1
        local read, found = pcall(cjson.decode, job)
        local client = read and type(found) == 'table' and found.client
        clients[died] = type(client) == 'string' and client or ''
        bury(clients[died], reason, lane, job)
        -- Its weight stays counted until the queue is empty (see audit.lua).
        local share = lane .. '/' .. (clients[died] == '' and 'default' or clients[died])
        if redis.call('HINCRBY', KEYS[6], share, -1) <= 0 then redis.call('HDEL', KEYS[6], share) end
      end
      redis.call('HDEL', returns, spot)
    end
    if redis.call('LLEN', jobs) > 0 then
      redis.call('RPUSH', ready_prefix .. lane, partition)
    else
      redis.call('SREM', active_prefix .. lane, partition)
    end
  end
  if tonumber(redis.call('ZSCORE', workers, holder)) < now - watched then
    redis.call('ZREM', workers, holder)
  end
end
return {back, died, valid, clients}
