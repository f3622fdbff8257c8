#!lua
-- Purpose: write the whole log of a flow that was exported elsewhere, sealed from the beginning.
-- Method: import_log
-- KEYS: partition
--   the `{ns:p}:id` of the flow's partition
-- ARGV: instance flow events fields indexes
--   the numbers of events, of fields of the head and of indexes; then six an event: type, at, cause, by,
--   tx as `<transaction>:<i>/<n>`, data; two a field: name, value; one an index
-- Reply: 1, or 0 when the flow exists
-- Crash: all arguments are checked before the first write, and nothing here can fail midway on a flow that
--   does not exist, beside an index of a foreign type; the head comes before the indexes, so the log is
--   sealed even then. The feed is not told: nothing has happened.
local instance, flow, events, fields, indexes = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- include: names
-- include: partitions
-- include: expiry

local EVENTS, FIELDS, INDEXES = 50000, 100, 100

if flow == '' then return bad('no flow') end
if not is_count(events) or events == '0' or tonumber(events) > EVENTS then return bad('events ' .. events) end
if not is_count(fields) or tonumber(fields) > FIELDS then return bad('fields ' .. fields) end
if not is_count(indexes) or tonumber(indexes) > INDEXES then return bad('indexes ' .. indexes) end
events, fields, indexes = tonumber(events), tonumber(fields), tonumber(indexes)
local first_field = 6 + 6 * events
local first_index = first_field + 2 * fields
if #ARGV ~= first_index + indexes - 1 then return bad('arguments') end
local last_at = 0
for arg = 6, first_field - 1, 6 do
  local at = ARGV[arg + 1]
  if ARGV[arg] == '' or not is_count(at) or tonumber(at) < last_at then return bad('event ' .. ARGV[arg]) end
  if not is_count(ARGV[arg + 2]) then return bad('cause ' .. ARGV[arg + 2]) end
  if not string.find(ARGV[arg + 4], '^[^%s:]+:%d+/%d+$') then return bad('tx ' .. ARGV[arg + 4]) end
  last_at = tonumber(at)
end
for arg = first_field, first_index - 1, 2 do
  if not is_field(ARGV[arg]) then return bad('head field ' .. ARGV[arg]) end
end
for arg = first_index, #ARGV do
  if not is_index(ARGV[arg]) then return bad('index ' .. ARGV[arg]) end
end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local prefix = prefixes_from(1)[1]
local log, head = prefix .. 'flow:' .. flow, prefix .. 'head:' .. flow
if redis.call('EXISTS', log, head) > 0 then return 0 end
for i = 1, events do
  local arg = 6 * i
  redis.call('XADD', log, i .. '-0', 'type', ARGV[arg], 'at', ARGV[arg + 1], 'cause', ARGV[arg + 2],
    'by', ARGV[arg + 3], 'tx', ARGV[arg + 4], 'data', ARGV[arg + 5])
end
local started_at, last = ARGV[7], 6 * events
local tx = string.match(ARGV[last + 4], '^[^:]+')
redis.call('HSET', head, 'v', events, 'tx', tx, 'at', ARGV[last + 1], 't0', started_at)
for arg = first_field, first_index - 1, 2 do redis.call('HSET', head, '.' .. ARGV[arg], ARGV[arg + 1]) end
for arg = first_index, #ARGV do add_to_index(prefix, flow, ARGV[arg], started_at) end
seal(prefix, flow, clock_ms())
return 1
