-- What an argument may look like. Checked before anything is written, because a command that
-- refuses its argument midway would leave the writes before it.

-- A count or a time: a whole number, not negative, exact as a double.
local function is_count(text)
  return #text <= 15 and string.find(text, '^%d+$') ~= nil
end

-- The name of a dispatch stream: `control` or `work:<queue>`, without blanks.
local function is_stream(name)
  return name == 'control' or string.find(name, '^work:[^ ]+$') ~= nil
end

-- The id of a stream's entry; 18 digits keep both halves below 2^64.
local function is_entry(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return ms ~= nil and #ms <= 18 and #sequence <= 18
end

-- A due member's stream, or nil when it is not `<stream> <payload>`.
local function stream_of(member)
  local stream, payload = string.match(member, '^([^ ]+) (.+)$')
  if stream and is_stream(stream) then return stream, payload end
end

-- A field of a head that a caller may set: not what the head holds of itself.
local OWN_FIELDS = {version = true, tx = true, at = true, started_at = true, sealed = true}

local function is_field(name)
  return name ~= '' and not OWN_FIELDS[name]
end

-- The name of an index of flows.
local function is_index(name)
  return name == 'open' or name == 'children' or string.find(name, '^done:.') ~= nil
    or string.find(name, '^label:[^=]+=') ~= nil
end
