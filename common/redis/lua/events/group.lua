-- Make a consumer group that begins before the first entry, and its stream if there is none.
-- KEYS: events. ARGV: group.
return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
