-- Read the state that must not change while an inbox is read from the database, for inbox_store.lua.
-- KEYS: reads, changes, sights. ARGV: scoped user.
-- Returns run of the server, last read, last change, last sight (Unix ms, or ''), time (Unix ms), and
-- the user's last reads with their times.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local changes = redis.call('HMGET', KEYS[2], 'r', 'm')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {run, changes[1] or '', changes[2] or '', redis.call('ZSCORE', KEYS[3], ARGV[1]) or '', now, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}
