#!lua
-- Purpose: one round of keeping: heartbeat, due entries, takeover, who is alive.
-- Method: keep
-- KEYS: engines partition...
--   `{ns}:engines` and the `{ns:p}:id` of every partition, on a cluster one of them alone: heartbeat and live
--   engines by the first, the rest by each partition; `{ns}:engine:<id>` has the prefix of `{ns}:engines`
-- ARGV: instance engine alive queues handlers lease state due idle count streams
--   engine (empty: no heartbeat), for how many ms it is alive, and what it says of itself; how many due
--   entries to move, a partition; how long an entry idles before it is taken over, how many to look for,
--   and from how many streams; then three a stream: number of its partition in KEYS (from 1), stream, cursor
-- Reply: {now, moved, next due time or -1, {{number of the partition, stream, entries}...}, {cursor...},
--   entries that vanished, {{engine, queues, handlers, lease, state (or nil)}...}}
-- Crash: a due entry is added to its stream before it leaves the set, so it may come twice, which decides
--   to nothing, but is never lost. A takeover without a reply is taken over again when it has idled.
local instance, engine, alive, queues, handlers, lease, state, due, idle, count, streams = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
-- include: names
-- include: partitions

local DUE, STREAMS = 10000, 4096

local function wrong_takeover(prefixes)
  if streams > STREAMS or 11 + 3 * streams ~= #ARGV then return 'streams ' .. streams end
  if streams > 0 and engine == '' then return 'a takeover needs an engine' end
  for arg = 12, #ARGV, 3 do
    if not prefixes[tonumber(ARGV[arg])] then return 'partition ' .. ARGV[arg] end
    if not is_stream(ARGV[arg + 1]) then return 'stream ' .. ARGV[arg + 1] end
    if not is_entry(ARGV[arg + 2]) then return 'cursor ' .. ARGV[arg + 2] end
  end
end

local function heartbeat(now)
  local key = string.sub(KEYS[1], 1, -2) .. ':' .. engine
  redis.call('ZADD', KEYS[1], whole(now), engine)
  redis.call('HSET', key, 'queues', queues, 'handlers', handlers, 'lease_ms', lease, 'state', state)
  redis.call('PEXPIRE', key, alive)
end

-- Moves what is due to the streams named; what names none goes to `dead`, or it would block the others.
local function move_due(prefix, now)
  local key = prefix .. 'due'
  local members = redis.call('ZRANGEBYSCORE', key, '-inf', whole(now), 'LIMIT', 0, due)
  for i = 1, #members do
    local stream, payload = stream_of(members[i])
    if stream then
      redis.call('XADD', prefix .. stream, '*', 'r', payload)
    else
      redis.call('XADD', prefix .. 'dead', '*', 'stream', 'due', 'reason', 'a due member without a stream', 'r', members[i])
    end
    redis.call('ZREM', key, members[i])
  end
  return #members
end

local function next_due(prefixes)
  local first
  for i = 1, #prefixes do
    local found = redis.call('ZRANGE', prefixes[i] .. 'due', 0, 0, 'WITHSCORES')
    if found[2] then first = math.min(first or tonumber(found[2]), tonumber(found[2])) end
  end
  return first or -1
end

-- Takes over what idles. A group that is missing has nothing pending.
local function take_over(prefixes)
  local taken, cursors, vanished = {}, {}, 0
  for arg = 12, #ARGV, 3 do
    local partition, stream = tonumber(ARGV[arg]), ARGV[arg + 1]
    local reply = redis.pcall('XAUTOCLAIM', prefixes[partition] .. stream, 'engines', engine, idle, ARGV[arg + 2],
      'COUNT', count)
    cursors[#cursors + 1] = reply[1] or '0-0'
    if reply[2] and #reply[2] > 0 then taken[#taken + 1] = {partition, stream, reply[2]} end
    if reply[3] then vanished = vanished + #reply[3] end
  end
  return taken, cursors, vanished
end

-- The engines whose details have not expired; the others leave the set.
local function live_engines()
  local live, prefix = {}, string.sub(KEYS[1], 1, -2) .. ':'
  local names = redis.call('ZRANGE', KEYS[1], 0, -1)
  for i = 1, #names do
    local kept = redis.call('HMGET', prefix .. names[i], 'queues', 'handlers', 'lease_ms', 'state')
    if kept[1] then
      live[#live + 1] = {names[i], kept[1], kept[2], kept[3], kept[4]}
    else
      redis.call('ZREM', KEYS[1], names[i])
    end
  end
  return live
end

local first = first_partition()
local prefixes = prefixes_from(first)
for arg = 3, 11 do
  if arg ~= 4 and arg ~= 5 and arg ~= 7 and not is_count(ARGV[arg]) then return bad('number ' .. arg .. ' is ' .. ARGV[arg]) end
end
due, streams = tonumber(due), tonumber(streams)
if due > DUE or alive == '0' or count == '0' then return bad('due ' .. due .. ' alive ' .. alive .. ' count ' .. count) end
local wrong = wrong_takeover(prefixes)
if wrong then return bad(wrong) end
local emptied = emptied_from(first, instance)
if emptied then return emptied end

local now, moved = clock_ms(), 0
if engine ~= '' and first == 2 then heartbeat(now) end
if due > 0 then
  for i = 1, #prefixes do moved = moved + move_due(prefixes[i], now) end
end
local taken, cursors, vanished = take_over(prefixes)
return {now, moved, next_due(prefixes), taken, cursors, vanished, first == 2 and live_engines() or {}}
