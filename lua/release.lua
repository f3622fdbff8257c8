#!lua
-- Purpose: hand entries back under the same attempt, now or later.
-- Method: release
-- KEYS: partition...
--   the `{ns:p}:id` of each partition named
-- ARGV: instance consumer delay
--   then three an entry: number of its partition in KEYS, stream, entry
-- Reply: how many were handed back; what is not pending for this consumer is passed over
-- Crash: an entry is added anew before the old one goes, so it may come twice, never not at all; the
--   second delivery of an attempt finds it running or answered.
local instance, consumer, delay = ARGV[1], ARGV[2], ARGV[3]
-- include: names
-- include: partitions

local ENTRIES = 1000

local function wrong_arguments(prefixes)
  if consumer == '' then return 'consumer' end
  if not is_count(delay) then return 'delay ' .. delay end
  if (#ARGV - 3) % 3 ~= 0 or #ARGV > 3 + 3 * ENTRIES then return 'entries' end
  for arg = 4, #ARGV, 3 do
    if not prefixes[tonumber(ARGV[arg])] then return 'partition ' .. ARGV[arg] end
    if not is_stream(ARGV[arg + 1]) then return 'stream ' .. ARGV[arg + 1] end
    if not is_entry(ARGV[arg + 2]) then return 'entry ' .. ARGV[arg + 2] end
  end
end

-- Hands one entry back. What is no longer in the stream cannot be, and is only acknowledged.
local function release(prefix, stream, id, due_ms)
  local key = prefix .. stream
  local pending = redis.pcall('XPENDING', key, 'engines', id, id, 1, consumer)
  if not pending[1] then return 0 end
  local entry = redis.call('XRANGE', key, id, id)[1]
  local payload = entry and entry[2][2]
  if payload and due_ms and payload ~= '' then
    redis.call('ZADD', prefix .. 'due', whole(due_ms), stream .. ' ' .. payload)
  elseif payload then
    redis.call('XADD', key, '*', 'r', payload)
  end
  redis.call('XACK', key, 'engines', id)
  redis.call('XDEL', key, id)
  return payload and 1 or 0
end

local prefixes = prefixes_from(1)
local wrong = wrong_arguments(prefixes)
if wrong then return bad(wrong) end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local due_ms
if delay ~= '0' then due_ms = clock_ms() + tonumber(delay) end
local released = 0
for arg = 4, #ARGV, 3 do
  released = released + release(prefixes[tonumber(ARGV[arg])], ARGV[arg + 1], ARGV[arg + 2], due_ms)
end
return released
