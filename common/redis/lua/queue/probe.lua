-- Write and delete one value of each type that accept.lua writes, and read what it reads of every lane, to find
-- out whether it could do so. KEYS: a key of its own, waiting, backlog, then ready and active of each lane.
for _, write in ipairs({{'SET', 'x', 'EX', '60'}, {'LPUSH', 'x'}, {'SADD', 'x'}, {'HINCRBY', 'x', '1'}}) do
  redis.call(write[1], KEYS[1], unpack(write, 2))
  redis.call('DEL', KEYS[1])
end
for k = 2, #KEYS do
  local read = k <= 3 and {'HGET', 'x'} or k % 2 == 0 and {'LLEN'} or {'SISMEMBER', 'x'}
  local found = redis.pcall(read[1], KEYS[k], unpack(read, 2))
  if type(found) == 'table' and found.err then
    local what = found.err:find('WRONGTYPE', 1, true) and 'WRONGTYPE it can not be used: ' or 'ERR it can not be read: '
    return redis.error_reply(what .. KEYS[k])
  end
end
return 1
