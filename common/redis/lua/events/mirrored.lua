-- Move the bridge's position on, and write where in Kafka the publications of that run are.
-- KEYS: events. ARGV: as advance.lua; the writer, then the text of each `mirrored` event.
-- Returns the same as advance.lua; unless it is 1, nothing is written, as this is a repeat or comes again.
local moved = advance(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
if moved == 1 then
  for k = 5, #ARGV do
    redis.call('XADD', KEYS[1], '*', 'k', 'mirrored', 'c', '', 'w', ARGV[4], 'p', ARGV[k])
  end
end
return moved
