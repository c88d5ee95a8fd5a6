-- Write and delete one value of each type that accept.lua writes, to find out whether it could.
-- KEYS: a key of its own.
for _, write in ipairs({{'SET', 'x', 'EX', '60'}, {'LPUSH', 'x'}, {'SADD', 'x'}, {'HINCRBY', 'x', '1'}}) do
  redis.call(write[1], KEYS[1], unpack(write, 2))
  redis.call('DEL', KEYS[1])
end
return 1
