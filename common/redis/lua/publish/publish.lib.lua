-- Publishing, shared by publish.lua and admit.lua: offsets, logs, the event stream and pub/sub.
-- Nothing is complete before flush(); until then, nothing that can fail may be done.
-- ARGV[i..i+9]: run of the server (read on this connection, shortened), prefixes of channels, logs
-- and pub/sub, a new epoch if one is needed, most log entries, log seconds, channel seconds, about
-- how many events are kept (empty: all, until trim.lua finds them read), worker.
-- A shared content (see common/model/shared_content.py) is left out of the stored text and of the head:
-- its place is then given in front of the extra. shared, if there are any: their contents by digest
-- in .contents, and in .index the key of the set with the time of each one's last use.
local function publisher(epoch_key, events, i, shared)
  local channel_prefix, log_prefix, pub_prefix = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local log_max, log_s, channel_s = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6]), tonumber(ARGV[i + 7])
  local events_max, worker = ARGV[i + 8], ARGV[i + 9]
  local run, candidate = ARGV[i], ARGV[i + 4]
  -- Expiry is not extended with every publication, but now and then, and by that much more.
  local put_off_s = math.floor(log_s / 10)
  local channels, order, shard, last_event, used = {}, {}, nil, nil, {}
  local self = {}

  -- As long as common/model/shared_content.py says.
  local PLACEHOLDER = #'null,"data":null'

  local function event(kind, name, text, extra, refers)
    if refers then
      local entry = {'*', 'k', kind, 'c', name, 'w', worker, 'p', text, 'x', extra, 'b', refers}
      if events_max == '' then
        last_event = redis.call('XADD', events, unpack(entry))
      else
        last_event = redis.call('XADD', events, 'MAXLEN', '~', events_max, unpack(entry))
      end
      return
    end
    if events_max == '' then
      last_event = redis.call('XADD', events, '*', 'k', kind, 'c', name, 'w', worker, 'p', text, 'x', extra)
    else
      last_event = redis.call('XADD', events, 'MAXLEN', '~', events_max, '*', 'k', kind, 'c', name, 'w', worker, 'p', text, 'x', extra)
    end
  end

  -- The channel's position, moved on to a new epoch if the server run changed since its last one, or
  -- if its earlier offsets are not known any more.
  -- Call it for every channel before the first write: it reads keys that somebody else may have
  -- overwritten, and Lua does not roll back.
  function self.channel(name)
    local state = channels[name]
    if state then return state end
    local found = standing(channel_prefix .. name, log_prefix .. name)
    state = {name = name, log = {}, base = '-', lives_until = found.lives_until or 0,
      epoch = found.epoch, offset = found.offset or 0, lost = found.lost, wrong = found.wrong}
    if found.lost or found.run ~= run then
      shard = shard or shard_epoch(epoch_key, candidate, channel_s / 2, run)
      state.ended, state.ended_at = found.epoch or '', state.offset
      if found.epoch ~= shard.epoch then
        local bits = bits_of(name)
        state.epoch = candidate
        if not may_have_been_in(epoch_key, shard.epoch, bits) then
          state.epoch, state.bits = shard.epoch, bits
          if not found.epoch and not may_have_been_in(epoch_key, shard.before, bits) then
            state.ended = shard.before
          end
        end
        if state.ended ~= '' then
          state.base = state.ended .. ':' .. string.format('%d', state.offset)
        end
      end
      state.forgotten = not found.epoch
    end
    channels[name], order[#order + 1] = state, state
    return state
  end

  -- Returns whether a pub/sub channel has subscribers on this server.
  local patterns
  local function heard(channel)
    patterns = patterns or redis.call('PUBSUB', 'NUMPAT')
    return patterns > 0 or redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0
  end

  -- Publish a head (JSON text up to the epoch's value) that was accepted at a Unix time (ms).
  -- An extra is JSON that is kept with the event, or empty.
  function self.publish(name, accepted, head, extra)
    local state = self.channel(name)
    state.offset = state.offset + 1
    local offset = string.format('%d', state.offset)
    if shared and string.byte(extra, 1) == 64 then
      local header = state.epoch .. ' ' .. offset .. ' ' .. accepted .. ' ' .. state.base
      local tail = state.epoch .. '","offset":' .. offset .. '}'
      state.base = '-'
      local refers, digest, at, rest = string.match(extra, '^@((%x+):(%d+)) (.*)$')
      at = tonumber(at)
      -- Without subscribers, building large texts would be most of the work.
      if heard(pub_prefix .. name) then
        redis.call('PUBLISH', pub_prefix .. name, header .. '\n' .. string.sub(head, 1, at)
          .. shared.contents[digest] .. string.sub(head, at + PLACEHOLDER + 1) .. tail)
      end
      state.log[#state.log + 1] = header .. ' ' .. refers .. '\n' .. head .. tail
      event('published', name, head .. tail, rest, refers)
      used[digest] = true
      return
    end
    local text = head .. state.epoch .. '","offset":' .. offset .. '}'
    local payload = state.epoch .. ' ' .. offset .. ' ' .. accepted .. ' ' .. state.base .. '\n' .. text
    state.base = '-'
    state.log[#state.log + 1] = payload
    redis.call('PUBLISH', pub_prefix .. name, payload)
    event('published', name, text, extra)
  end

  -- Write the event that a job expired unsent.
  function self.expire(name, story)
    event('expired', name, story, '')
  end

  -- Write the event that a text went to the dead letters.
  function self.bury(text, reason)
    event('dead', '', text, reason)
  end

  -- Append to a log. One that somebody else overwrote, or that a forgotten channel left behind, starts
  -- again: its offsets show that. Returns whether it starts.
  local function append(log, entries, forgotten)
    local length = redis.pcall('RPUSH', log, unpack(entries))
    if type(length) == 'table' or (forgotten and length > #entries) then
      redis.call('DEL', log)
      length = redis.call('RPUSH', log, unpack(entries))
    end
    if length > log_max then redis.call('LTRIM', log, -log_max, -1) end
    return length == #entries
  end

  -- Write positions and logs, and when contents were used.
  function self.flush()
    for digest in pairs(used) do
      redis.call('ZADD', shared.index, string.match(last_event, '^%d+'), digest)
    end
    -- The time (Unix seconds) at which Redis took the last event.
    local now = last_event and math.floor(tonumber(string.match(last_event, '^%d+')) / 1000)
    local shares = {}
    for _, state in ipairs(order) do
      if #state.log > 0 then
        local client = string.match(state.name, '^[^/]*')
        shares[client] = (shares[client] or 0) + #state.log
        local hash, log = channel_prefix .. state.name, log_prefix .. state.name
        if state.wrong then redis.call('DEL', hash) end
        if state.bits then note_in(epoch_key, state.epoch, state.bits, 2 * channel_s) end
        local begins = append(log, state.log, state.forgotten)
        local written = {'o', string.format('%d', state.offset)}
        if state.ended then
          written = {'e', state.epoch, 'o', written[2], 'r', run, 'p', state.ended,
            'q', string.format('%d', state.ended_at)}
        end
        local puts_off = begins or state.lost or state.lives_until <= now
        if puts_off then
          written[#written + 1], written[#written + 2] = 't', string.format('%d', now + put_off_s)
        end
        redis.call('HSET', hash, unpack(written))
        if puts_off then
          redis.call('EXPIRE', hash, channel_s + put_off_s)
          redis.call('EXPIRE', log, log_s + put_off_s)
        end
      end
    end
    -- Entries of the stream per client; trim.lua repairs the key if somebody else overwrote it.
    if events_max == '' then
      for client, count in pairs(shares) do redis.pcall('HINCRBY', events .. ':clients', client, count) end
    end
  end

  redis.call('XLEN', events)
  return self
end
