-- Write a gateway's counts of writes as events.
-- KEYS: events. ARGV: kind, gateway, then per event: scoped channel, text.
for k = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], '*', 'k', ARGV[1], 'c', ARGV[k], 'w', ARGV[2], 'p', ARGV[k + 1])
end
return (#ARGV - 2) / 2
