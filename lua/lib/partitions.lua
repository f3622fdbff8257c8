-- The partitions of a call. KEYS from `first` on are their `{ns:p}:id` keys. Every other key that a
-- script touches is made from the prefix of one of them, so it has the same hash tag and lives in the
-- same slot.

local function prefixes_from(first)
  local prefixes = {}
  for i = first, #KEYS do prefixes[i - first + 1] = string.sub(KEYS[i], 1, -3) end
  return prefixes
end

-- An error reply when one of them is not of the instance that the caller knows, else nil.
local function emptied_from(first, instance)
  if #KEYS < first then return end
  local ids = redis.call('MGET', unpack(KEYS, first))
  for i = 1, #KEYS - first + 1 do
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
