-- Records of clients that were written since the last time.
-- KEYS: clients, order, head. ARGV: generation and number seen, most records.
-- Returns the generation ('' before the first record), and record, number, record, number, …; all
-- records from the first on if the generation has changed.
local generation = redis.call('HGET', KEYS[3], 'g')
if not generation then return {'', {}} end
local since = generation == ARGV[1] and '(' .. ARGV[2] or '-inf'
local found = redis.call('ZRANGEBYSCORE', KEYS[2], since, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for k = 1, #found, 2 do found[k] = redis.call('HGET', KEYS[1], found[k]) or '' end
return {generation, found}
