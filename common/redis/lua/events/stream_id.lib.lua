-- Ids of stream entries, shared by trim.lua and advance.lib.lua.
local function number(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- Returns true if the entry a is older than the entry b.
local function before(a, b)
  local ams, aseq = number(a)
  local bms, bseq = number(b)
  return ams < bms or (ams == bms and aseq < bseq)
end
