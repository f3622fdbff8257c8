#!lua
-- Purpose: remove a consumer from all groups where nothing is pending for it.
-- Method: retire
-- KEYS: partition...
--   the `{ns:p}:id` of every partition
-- ARGV: instance consumer
--   then the streams that each partition has
-- Reply: 1 when it is in no group any more, else 0
-- Crash: every group is an affair of its own. A consumer with pending entries stays: removing it would
--   drop them from the pending list, and nobody could ever take them over.
local instance, consumer = ARGV[1], ARGV[2]
-- include: names
-- include: partitions

local STREAMS = 1000

if consumer == '' or #ARGV > 2 + STREAMS then return bad('consumer ' .. consumer) end
for arg = 3, #ARGV do
  if not is_stream(ARGV[arg]) then return bad('stream ' .. ARGV[arg]) end
end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local prefixes, is_gone = prefixes_from(1), 1
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
