-- Take more turns and read the jobs of all turns that this loop holds, removing none.
-- KEYS: ready, held, workers. ARGV: holder, lease (ms), most turns, prefix of the lane's job
-- lists, most jobs, most bytes.
-- Returns partition, jobs (oldest first), partition, jobs, …
local ready, held, workers = KEYS[1], KEYS[2], KEYS[3]
local most_turns, jobs_prefix = tonumber(ARGV[3]), ARGV[4]
local jobs_left, bytes_left = tonumber(ARGV[5]), tonumber(ARGV[6])

local function tail(list)
  local jobs, step, from = {}, 2, 0
  while jobs_left > 0 and bytes_left > 0 do
    local wanted = math.min(step, jobs_left)
    local part = redis.call('LRANGE', list, -from - wanted, -from - 1)
    for k = #part, 1, -1 do
      jobs[#jobs + 1] = part[k]
      bytes_left = bytes_left - #part[k]
    end
    jobs_left, from = jobs_left - #part, from + #part
    if #part < wanted then break end
    step = step * 4
  end
  return jobs
end

local out = {}
local turns = redis.call('LRANGE', held, 0, -1)
for _, partition in ipairs(turns) do
  out[#out + 1] = partition
  out[#out + 1] = tail(jobs_prefix .. partition)
end
for _ = #turns + 1, most_turns do
  if jobs_left <= 0 or bytes_left <= 0 then break end
  local partition = redis.call('LMOVE', ready, held, 'RIGHT', 'LEFT')
  if not partition then break end
  out[#out + 1] = partition
  out[#out + 1] = tail(jobs_prefix .. partition)
end
if #out > 0 then
  -- A holder that was forgotten while its command waited in a stalled Redis is listed again.
  if not redis.call('ZSCORE', workers, ARGV[1]) then
    local now = redis.call('TIME')
    redis.call('ZADD', workers, now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
  end
end
return out
