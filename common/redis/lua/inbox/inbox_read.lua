-- Read the cached unread ids and first page of a user, if they are still valid (see docs/design/inbox.md).
-- KEYS: inbox, unread, reads, changes, sights. ARGV: prefix of channels, whether the page is wanted
-- ('1'), scoped user.
-- Returns nil, or the number of unread notifications and, with a page, the page and then per item
-- whether it is unread (1 or 0) and when it was read recently (Unix ms, or '').
local held = redis.call('HMGET', KEYS[1], 'run', 'stamp', 'm', 'p', 'ids', 'page', 's')
if not held[1] then return false end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if run ~= held[1] or (redis.call('HGET', KEYS[4], 'm') or '') ~= held[3] then return false end
if (redis.call('ZSCORE', KEYS[5], ARGV[3]) or '') ~= (held[7] or '') then return false end
-- The set's own mark: without it, a lost set would mean that nothing is unread.
if tonumber(redis.call('ZSCORE', KEYS[2], '') or 0) ~= tonumber(held[2]) then return false end
for name, epoch, offset in string.gmatch(held[4], '([^\t]+)\t([^\t]*)\t([^\n]*)\n') do
  local now = redis.call('HMGET', ARGV[1] .. name, 'e', 'o')
  if (now[1] or '') ~= epoch or (now[2] or '') ~= offset then return false end
end
local out = {redis.call('ZCARD', KEYS[2]) - 1}
if ARGV[2] ~= '1' then return out end
if not held[6] then return false end
out[2] = held[6]
for id in string.gmatch(held[5], '([^\n]+)\n') do
  out[#out + 1] = redis.call('ZSCORE', KEYS[2], id) and 1 or 0
  out[#out + 1] = redis.call('ZSCORE', KEYS[3], id) or ''
end
return out
