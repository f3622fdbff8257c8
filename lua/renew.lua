#!lua
-- Purpose: renew the leases that are still this consumer's; tell which are not, how their flows stand, and
--   what is pending for this consumer that it did not name: delivered to it, or taken over from another. What
--   was delivered to it is renewed as well: its reply is still on its way, or waits for a busy event loop.
-- Method: renew
-- KEYS: partition...
--   the `{ns:p}:id` of each partition named
-- ARGV: instance consumer leases named streams
--   then four a lease: number of its partition in KEYS, stream, entry, flow; three an entry that the caller
--   knows and that is not renewed here: number, stream, entry; and two a stream to look for others in: number, stream
-- Reply: {{number of a lease that is lost...}, {status of the flow of each lease, or false}, {{number of the
--   partition, stream, entries}...}, the same of entries taken over}; the status of a flow that exists and
--   has none is empty
-- Crash: XCLAIM to the owner itself changes nothing but the idle time.
local instance, consumer, leases, named, streams = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- include: names
-- include: partitions

local LEASES, NAMED, STREAMS, UNNAMED = 1000, 100000, 4096, 100

local function wrong_place(prefixes, arg)
  if not prefixes[tonumber(ARGV[arg])] then return 'partition ' .. ARGV[arg] end
  if not is_stream(ARGV[arg + 1]) then return 'stream ' .. ARGV[arg + 1] end
end

-- Where the entries named and the streams begin.
local function parts()
  local first_named = 6 + 4 * leases
  return first_named, first_named + 3 * named
end

local function wrong_arguments(prefixes)
  if consumer == '' then return 'consumer' end
  local first_named, first_stream = parts()
  if leases > LEASES or named > NAMED or streams > STREAMS or #ARGV ~= first_stream + 2 * streams - 1 then
    return 'leases ' .. leases .. ' named ' .. named .. ' streams ' .. streams
  end
  local arg = 6
  while arg <= #ARGV do
    local wrong = wrong_place(prefixes, arg)
    if wrong then return wrong end
    if arg < first_stream and not is_entry(ARGV[arg + 2]) then return 'entry ' .. ARGV[arg + 2] end
    arg = arg + (arg < first_named and 4 or arg < first_stream and 3 or 2)
  end
end

-- Renews one entry if it is pending for this consumer. Plain XCLAIM would steal it back from a new owner.
local function renew(key, id)
  local found = redis.pcall('XPENDING', key, 'engines', id, id, 1, consumer)
  if not found[1] then return false end
  redis.call('XCLAIM', key, 'engines', consumer, 0, id, 'JUSTID')
  return true
end

local function status_of(head)
  local kept = redis.call('HMGET', head, 'v', '.status')
  return kept[1] and (kept[2] or '')
end

-- Remembers by key which entries the caller knows, and how many.
local known, counts = {}, {}

local function remember(key, id)
  known[key] = known[key] or {}
  known[key][id] = true
  counts[key] = (counts[key] or 0) + 1
end

-- Entries of a stream that are pending for this consumer and not known to it, at most UNNAMED: first those
-- delivered to it, which are renewed, then those taken over, which are not, as their attempt may have run.
-- Only a takeover delivers for a second time; a renewal does not count.
local function unnamed_in(key)
  local entries, taken, ids = {}, {}, known[key] or {}
  local pending = redis.pcall('XPENDING', key, 'engines', '-', '+', (counts[key] or 0) + UNNAMED, consumer)
  for i = 1, #pending do
    local id, list = pending[i][1], pending[i][4] > 1 and taken or entries
    if not ids[id] and #entries + #taken < UNNAMED then
      local entry = redis.call('XRANGE', key, id, id)[1]
      if entry then
        list[#list + 1] = entry
        if list == entries then redis.call('XCLAIM', key, 'engines', consumer, 0, id, 'JUSTID') end
      end
    end
  end
  return entries, taken
end

local prefixes = prefixes_from(1)
if not (is_count(leases) and is_count(named) and is_count(streams)) then
  return bad('leases ' .. leases .. ' named ' .. named .. ' streams ' .. streams)
end
leases, named, streams = tonumber(leases), tonumber(named), tonumber(streams)
local wrong = wrong_arguments(prefixes)
if wrong then return bad(wrong) end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local lost, statuses, unnamed, taken_over = {}, {}, {}, {}
local first_named, first_stream = parts()
for i = 1, leases do
  local arg = 2 + 4 * i
  local prefix, id = prefixes[tonumber(ARGV[arg])], ARGV[arg + 2]
  local key = prefix .. ARGV[arg + 1]
  if not renew(key, id) then lost[#lost + 1] = i end
  statuses[i] = status_of(prefix .. 'head:' .. ARGV[arg + 3])
  remember(key, id)
end
for arg = first_named, first_stream - 1, 3 do
  remember(prefixes[tonumber(ARGV[arg])] .. ARGV[arg + 1], ARGV[arg + 2])
end
for arg = first_stream, #ARGV, 2 do
  local partition, stream = tonumber(ARGV[arg]), ARGV[arg + 1]
  local entries, taken = unnamed_in(prefixes[partition] .. stream)
  if #entries > 0 then unnamed[#unnamed + 1] = {partition, stream, entries} end
  if #taken > 0 then taken_over[#taken_over + 1] = {partition, stream, taken} end
end
return {lost, statuses, unnamed, taken_over}
