#!lua
-- Purpose: an engine ends: it is no longer alive, and leaves all groups where nothing is pending for it.
-- Method: retire
-- KEYS: engines partition...
--   `{ns}:engines` and the `{ns:p}:id` of every partition, on a cluster one of them alone; `{ns}:engine:<id>`
--   has the prefix of `{ns}:engines`
-- ARGV: instance consumer
--   then the streams that each partition has
-- Reply: 1 when it is in no group any more, else 0
-- Crash: every group is an affair of its own. A consumer with pending entries stays: removing it would
--   drop them from the pending list, and nobody could ever take them over. What a
--   call that stopped left of it is reaped later.
local instance, consumer = ARGV[1], ARGV[2]
-- include: names
-- include: partitions

local STREAMS = 1000

if consumer == '' or #ARGV > 2 + STREAMS then return bad('consumer ' .. consumer) end
for arg = 3, #ARGV do
  if not is_stream(ARGV[arg]) then return bad('stream ' .. ARGV[arg]) end
end
local first = first_partition()
local emptied = emptied_from(first, instance)
if emptied then return emptied end

if first == 2 then
  redis.call('ZREM', KEYS[1], consumer)
  redis.call('DEL', string.sub(KEYS[1], 1, -2) .. ':' .. consumer)
end
local prefixes, is_gone = prefixes_from(first), 1
for i = 1, #prefixes do
  for arg = 3, #ARGV do
    local key = prefixes[i] .. ARGV[arg]
    local pending = redis.pcall('XPENDING', key, 'engines', '-', '+', 1, consumer)
    if pending[1] then
      is_gone = 0
    else
      redis.pcall('XGROUP', 'DELCONSUMER', key, 'engines', consumer)
    end
  end
end
return is_gone
