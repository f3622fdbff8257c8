-- The partitions of a call. KEYS from `first` on are their `{ns:p}:id` keys. Every other key that a
-- script touches is made from the prefix of one of them, so it has the same hash tag and lives in the
-- same slot.
--
-- On a cluster a call names keys of one slot, and its last key is `<tag>:nothing`, which nobody ever writes. While a
-- slot moves to another node, a server refuses every call that names a key which is not there (TRYAGAIN). So no
-- script ever begins where some keys of its slot have gone already, and stops at the first one that it misses.

local keys = #KEYS
if keys > 0 and string.sub(KEYS[keys], -9) == '}:nothing' then keys = keys - 1 end

-- Where the partitions begin in a call that names a key of the namespace first; on a cluster that key is in
-- another slot, and a call names it alone, or one partition alone.
local function first_partition()
  return keys > 0 and string.sub(KEYS[1], -4) == '}:id' and 1 or 2
end

local function prefixes_from(first)
  local prefixes = {}
  for i = first, keys do prefixes[i - first + 1] = string.sub(KEYS[i], 1, -3) end
  return prefixes
end

-- An error reply when the namespace is not of the instance that the caller knows, by `{ns}:meta`, else nil.
local function emptied_meta(instance)
  local meta = string.match(KEYS[1], '^.-}:') .. 'meta'
  if redis.call('HGET', meta, 'instance') ~= instance then
    return redis.error_reply('EMPTIED ' .. meta .. ' is not of the instance that was opened')
  end
end

-- An error reply when one of the partitions is not of the instance that the caller knows, else nil. Where a call
-- names other keys alone, `{ns}:meta` is asked.
local function emptied_from(first, instance)
  if keys < first then return keys > 0 and emptied_meta(instance) or nil end
  local ids = redis.call('MGET', unpack(KEYS, first, keys))
  for i = 1, keys - first + 1 do
    if ids[i] ~= instance then
      return redis.error_reply('EMPTIED ' .. KEYS[first + i - 1] .. ' is not of the instance that was opened')
    end
  end
end

local function bad(what)
  return redis.error_reply('BADARG ' .. what)
end

-- The server's clock in ms. Call it once a script: two calls may differ.
local function clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A whole number as text; `..` and tostring would fall back on 1e+14.
local function whole(number)
  return string.format('%.0f', number)
end
