-- Epochs: the one that channels begin in, the channels that have been in it, and the position of a
-- channel whatever somebody else did to its keys.

-- The channels that have been in an epoch are kept in a Bloom filter of four bits each. It has no
-- false negatives; at four million channels, one in 50 is a false positive, and then gets a needless
-- `reset`.
local FILTER_BYTES = 4194304

-- The epoch that channels begin in. It ends with the run of the Redis server that it began in,
-- because the last offsets from that server may be lost, and when it is older than rotate_s, so
-- that a channel whose position was forgotten never begins again in the epoch that it had.
-- KEYS[1] epoch; the candidate becomes the new one; run is that of the server this runs on, read
-- here if the caller has not read it on the same connection. A caller that gives rotate_s lets
-- channels in: then an epoch also ends when the filter of its channels is lost.
-- Returns a table: epoch, the run (shortened), the epoch before it ('' if there was none), and now
-- (Unix seconds).
local function shard_epoch(epoch_key, candidate, rotate_s, run)
  run = run or string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 12)
  local known = redis.pcall('HMGET', epoch_key, 'e', 'r', 'p', 't')
  if known.err then
    redis.call('DEL', epoch_key)
    known = {}
  end
  local now = tonumber(redis.call('TIME')[1])
  local old = rotate_s and now - (tonumber(known[4] or 0) or 0) > rotate_s
  if known[1] and known[2] == run and not old then
    if not rotate_s or redis.pcall('STRLEN', epoch_key .. ':' .. known[1]) == FILTER_BYTES then
      return {epoch = known[1], run = run, before = known[3] or '', now = now}
    end
  end
  local before = known[1] or ''
  redis.call('HSET', epoch_key, 'e', candidate, 'r', run, 'p', before, 't', string.format('%d', now))
  if known[3] then redis.call('DEL', epoch_key .. ':' .. known[3]) end
  redis.call('DEL', epoch_key .. ':' .. candidate)
  redis.call('SETBIT', epoch_key .. ':' .. candidate, 8 * FILTER_BYTES - 1, 0)
  redis.call('EXPIRE', epoch_key .. ':' .. candidate, 5184000)
  return {epoch = candidate, run = run, before = before, now = now}
end

-- The bits of a channel in the filters.
local function bits_of(name)
  local digest, bits = redis.sha1hex(name), {}
  for k = 1, 4 do bits[k] = tonumber(string.sub(digest, 7 * k - 6, 7 * k), 16) % (8 * FILTER_BYTES) end
  return bits
end

-- Returns whether a channel may have been in an epoch; true if that is unknown.
local function may_have_been_in(epoch_key, epoch, bits)
  local key = epoch_key .. ':' .. epoch
  if redis.pcall('STRLEN', key) ~= FILTER_BYTES then return true end
  for _, bit in ipairs(bits) do
    if redis.call('GETBIT', key, bit) == 0 then return false end
  end
  return true
end

-- Note that a channel is in an epoch; ttl in seconds.
local function note_in(epoch_key, epoch, bits, ttl)
  local key = epoch_key .. ':' .. epoch
  for _, bit in ipairs(bits) do redis.call('SETBIT', key, bit, 1) end
  redis.call('EXPIRE', key, ttl)
end

-- The position of a channel. Its hash and its log are written in one step, so that each can replace
-- the other: the end of the log tells the position of a channel whose hash is gone.
-- Returns a table: epoch and offset (absent: nothing is known), run, before and ended_at, lives_until
-- (absent: not known), `wrong` if something else is in the hash's place, and `lost` if the hash was
-- not whole.
local function standing(hash, log)
  local seen = redis.pcall('HMGET', hash, 'e', 'o', 'r', 'p', 'q', 't')
  local wrong = seen.err and true
  if not wrong and seen[1] and seen[2] and string.find(seen[2], '^%d+$') then
    return {epoch = seen[1], offset = tonumber(seen[2]), run = seen[3], before = seen[4],
      ended_at = tonumber(seen[5] or 0) or 0, lives_until = tonumber(seen[6] or 0) or 0}
  end
  local last = redis.pcall('LINDEX', log, -1)
  local epoch, offset = string.match(type(last) == 'string' and last or '', '^(%S+) (%d+) %d+ %S+[^\n]*\n')
  return {epoch = epoch, offset = tonumber(offset), wrong = wrong, lost = true}
end

-- A channel that was in the shard's epoch but of which nothing is known any more begins in an epoch
-- of its own, whichever script notices first. For readers; publish.lib.lua does it as it publishes.
-- Returns its epoch, or nil: it has never been there, and is at offset 0 of the shard's epoch.
local function begin_again(epoch_key, shard, candidate, name, hash, log)
  if not may_have_been_in(epoch_key, shard.epoch, bits_of(name)) then return nil end
  redis.call('DEL', hash, log)
  redis.call('HSET', hash, 'e', candidate, 'o', '0', 'r', shard.run, 'p', '', 'q', '0')
  redis.call('EXPIRE', hash, 604800)
  return candidate
end
