#!lua
-- Purpose: engines that died leave their names in the groups of a partition: those that idled for long go.
-- Method: reap
-- KEYS: partition
--   the `{ns:p}:id` of the partition
-- ARGV: instance idle live
--   for how many ms a consumer has read nothing, and how many engines are alive; then their ids, then the
--   streams that the partition has
-- Reply: how many were removed
-- Crash: every consumer is an affair of its own. One that is alive or has pending entries stays: removing it
--   would drop them from the pending list, and nobody could ever take them over. The live engines are of a moment
--   ago: one that came since has read since, and one that comes back makes its consumer anew when it reads.
local instance, idle, live = ARGV[1], ARGV[2], ARGV[3]
-- include: names
-- include: partitions

local STREAMS, CONSUMERS = 1000, 1000

if not is_count(idle) then return bad('idle ' .. idle) end
if not is_count(live) or 3 + live > #ARGV then return bad('live ' .. live) end
local first_stream = 4 + live
if #ARGV - first_stream >= STREAMS then return bad('streams ' .. #ARGV - first_stream + 1) end
for arg = first_stream, #ARGV do
  if not is_stream(ARGV[arg]) then return bad('stream ' .. ARGV[arg]) end
end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

idle = tonumber(idle)
local prefix, is_live, removed = prefixes_from(1)[1], {}, 0
for arg = 4, first_stream - 1 do is_live[ARGV[arg]] = true end

local function is_gone(consumer)
  return consumer.pending == 0 and consumer.idle > idle and not is_live[consumer.name]
end

for arg = first_stream, #ARGV do
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
