#!lua
-- Purpose: engines that died leave their names in the groups of a partition: those that idled for long go.
-- Method: reap
-- KEYS: engines partition
--   `{ns}:engines`, and the `{ns:p}:id` of the partition; `{ns}:engine:<id>` has the first one's prefix
-- ARGV: instance idle
--   for how many ms a consumer has read nothing; then the streams that the partition has
-- Reply: how many were removed
-- Crash: every consumer is an affair of its own. One that is alive or has pending entries stays: removing it
--   would drop them from the pending list, and nobody could ever take them over.
local instance, idle = ARGV[1], ARGV[2]
-- include: names
-- include: partitions

local STREAMS, CONSUMERS = 1000, 1000

if not is_count(idle) then return bad('idle ' .. idle) end
if #ARGV > 2 + STREAMS then return bad('streams ' .. #ARGV - 2) end
for arg = 3, #ARGV do
  if not is_stream(ARGV[arg]) then return bad('stream ' .. ARGV[arg]) end
end
local emptied = emptied_from(2, instance)
if emptied then return emptied end

idle = tonumber(idle)
local prefix, engine, removed = prefixes_from(2)[1], string.sub(KEYS[1], 1, -2) .. ':', 0

local function is_gone(consumer)
  return consumer.pending == 0 and consumer.idle > idle
    and redis.call('EXISTS', engine .. consumer.name) == 0
end

for arg = 3, #ARGV do
  local key = prefix .. ARGV[arg]
  local rows = redis.pcall('XINFO', 'CONSUMERS', key, 'engines')
  for i = 1, rows.err and 0 or math.min(#rows, CONSUMERS) do
    local consumer = {}
    for field = 1, #rows[i], 2 do consumer[rows[i][field]] = rows[i][field + 1] end
    if is_gone(consumer) then
      redis.call('XGROUP', 'DELCONSUMER', key, 'engines', consumer.name)
      removed = removed + 1
    end
  end
end
return removed
