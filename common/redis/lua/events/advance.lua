-- Move a group's position on, to the last entry of a run that was handed out right after it.
-- KEYS: events. ARGV: group, id of the last entry, number of entries.
-- Returns 1 if it moved, 0 if it was there or further on already, -1 if there is no such group.
return advance(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
