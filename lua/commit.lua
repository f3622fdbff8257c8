#!lua
-- Purpose: apply or refuse a batch of turns, each on its own, then hand out entries.
-- Method: commit
-- KEYS: partition...
--   the `{ns:p}:id` of each partition named; every other key of the partition has the same prefix
-- ARGV: instance turns consumer slots control streams
--   then four a stream (see lib/fetch.lua), then a turn after the other: number of its partition in KEYS,
--   flow, version held, tx at that version, tx, number of events, number of operations; four an event:
--   type, cause, by, data; and the operations, each a letter and its arguments:
--     a stream entry   acknowledge and delete      h name value  set a field of the head
--     d stream payload add an entry                i index       add the flow to an index
--     t member delay   add a due entry             u index       remove it
--     s member         remove a due entry          p hash bytes  use a plan
--     z                seal
--   The consumer is empty when nothing is to be fetched.
-- Reply: {now, turns, entries}; a turn is {1, version, at}, or {0, version, more, sealed, missed events},
--   or {2, hash of the plan that is missing}
-- Crash: all arguments are checked before the first write, OOM refuses the script as a whole, and
--   the server replays or replicates it as one transaction. What can still stop it midway is a key of a foreign type.
--   Then each turn before is whole, and the one that stopped has its events first: the log is the truth,
--   and what the rest would have added is rebuilt from it. The call has no answer, so it is sent
--   again, and turns that were applied find their own tx.
local instance, turns, consumer, slots, control, streams = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- include: names
-- include: partitions
-- include: log
-- include: expiry
-- include: fetch

local TURNS, EVENTS, OPERATIONS, FEED = 1000, 20000, 20000, 1000
local ARITY = {a = 2, d = 2, t = 2, s = 1, h = 2, i = 1, u = 1, p = 2, z = 0}
local NEEDS_FLOW = {h = true, i = true, u = true, p = true, z = true}

-- What is wrong with an operation at ARGV[arg], or nil.
local function wrong_operation(letter, arg)
  local first = ARGV[arg + 1]
  if letter == 'd' then
    if not is_stream(first) then return 'stream ' .. first end
  elseif letter == 'a' then
    if not is_stream(first) then return 'stream ' .. first end
    if not is_entry(ARGV[arg + 2]) then return 'entry ' .. ARGV[arg + 2] end
  elseif letter == 't' then
    if not stream_of(first) then return 'due member ' .. first end
    if not is_count(ARGV[arg + 2]) then return 'delay ' .. ARGV[arg + 2] end
  elseif letter == 's' then
    if not stream_of(first) then return 'due member ' .. first end
  elseif letter == 'h' then
    if not is_field(first) then return 'head field ' .. first end
  elseif letter == 'p' then
    if first == '' then return 'plan without a hash' end
  elseif letter ~= 'z' and not is_index(first) then
    return 'index ' .. first
  end
end

-- Checks the operations of a turn. Gives where they end, or nil and what is wrong.
local function check_operations(arg, count, is_without_flow)
  for _ = 1, count do
    local letter = ARGV[arg]
    local arity = ARITY[letter]
    if not arity or arg + arity > #ARGV then return nil, 'operation ' .. tostring(letter) end
    if is_without_flow and NEEDS_FLOW[letter] then return nil, 'operation ' .. letter .. ' without a flow' end
    local wrong = wrong_operation(letter, arg)
    if wrong then return nil, wrong end
    arg = arg + arity + 1
  end
  return arg
end

-- Checks the turn at ARGV[arg]. Gives where the next one begins, or nil and what is wrong.
local function check_turn(prefixes, arg)
  if arg + 6 > #ARGV then return nil, 'a turn is cut short' end
  if not prefixes[tonumber(ARGV[arg])] then return nil, 'partition ' .. ARGV[arg] end
  local flow, version, events, operations = ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 5], ARGV[arg + 6]
  if flow == '' then return nil, 'a turn has no flow' end
  local wrong = wrong_compare(version, ARGV[arg + 3], ARGV[arg + 4])
  if wrong then return nil, wrong end
  if not is_count(events) or tonumber(events) > EVENTS then return nil, 'events ' .. events end
  if not is_count(operations) or tonumber(operations) > OPERATIONS then return nil, 'operations ' .. operations end
  local first, count = arg + 7, tonumber(events)
  if first + 4 * count - 1 > #ARGV then return nil, 'an event is cut short' end
  wrong = wrong_events(first, count)
  if wrong then return nil, wrong end
  return check_operations(first + 4 * count, tonumber(operations), version == '0' and count == 0)
end

-- The hash of a plan that is used without its bytes and neither stored nor given before in this turn.
local function missing_plan(prefix, arg, count)
  local given = {}
  for _ = 1, count do
    if ARGV[arg] == 'p' then
      local hash = ARGV[arg + 1]
      if ARGV[arg + 2] ~= '' then
        given[hash] = true
      elseif not given[hash] and redis.call('EXISTS', prefix .. 'plan:' .. hash) == 0 then
        return hash
      end
    end
    arg = arg + ARITY[ARGV[arg]] + 1
  end
end

-- One function an operation: prefix, flow, arguments' place, at of the turn, start time of the flow.
local APPLY = {
  a = function(prefix, flow, arg)
    local key = prefix .. ARGV[arg + 1]
    redis.call('XACK', key, 'engines', ARGV[arg + 2])
    redis.call('XDEL', key, ARGV[arg + 2])
  end,
  d = function(prefix, flow, arg) redis.call('XADD', prefix .. ARGV[arg + 1], '*', 'r', ARGV[arg + 2]) end,
  t = function(prefix, flow, arg, at)
    redis.call('ZADD', prefix .. 'due', whole(at + tonumber(ARGV[arg + 2])), ARGV[arg + 1])
  end,
  s = function(prefix, flow, arg) redis.call('ZREM', prefix .. 'due', ARGV[arg + 1]) end,
  h = function(prefix, flow, arg)
    redis.call('HSET', prefix .. 'head:' .. flow, '.' .. ARGV[arg + 1], ARGV[arg + 2])
  end,
  i = function(prefix, flow, arg, at, started_at) add_to_index(prefix, flow, ARGV[arg + 1], started_at) end,
  u = function(prefix, flow, arg) remove_from_index(prefix, flow, ARGV[arg + 1]) end,
  p = function(prefix, flow, arg)
    local key = prefix .. 'plan:' .. ARGV[arg + 1]
    if redis.call('HINCRBY', key, 'n', 1) == 1 then redis.call('HSET', key, 'b', ARGV[arg + 2]) end
    redis.call('HINCRBY', prefix .. 'head:' .. flow, '@' .. ARGV[arg + 1], 1)
  end,
  z = function(prefix, flow, arg, at) seal(prefix, flow, at) end,
}

-- Applies the turn at ARGV[arg], or refuses it. Gives its reply and where the next one begins.
local function turn(prefixes, arg, now)
  local prefix, flow, held, tx = prefixes[tonumber(ARGV[arg])], ARGV[arg + 1], tonumber(ARGV[arg + 2]), ARGV[arg + 4]
  local events, operations = tonumber(ARGV[arg + 5]), tonumber(ARGV[arg + 6])
  local log, head = prefix .. 'flow:' .. flow, prefix .. 'head:' .. flow
  local first = arg + 7
  arg = first + 4 * events
  local kept = redis.call('HMGET', head, 'v', 'tx', 'at', 't0', 'sealed')
  local version, sealed = tonumber(kept[1] or 0), kept[5]
  if version ~= held or (kept[2] or '') ~= ARGV[first - 4] or (sealed and events > 0) then
    return refused(log, held, version, sealed)
  end
  local missing = missing_plan(prefix, arg, operations)
  if missing then return {2, missing} end
  local at = math.max(now, tonumber(kept[3] or 0))
  local at_text, started_at, status = whole(at), kept[4], ''
  if events > 0 then
    if not append(log, version, tx, at_text, first, events) then
      return refused(log, held, version_of(log), sealed)
    end
    if version == 0 then
      started_at = at_text
      redis.call('HSET', head, 'v', events, 'tx', tx, 'at', at_text, 't0', at_text)
    else
      redis.call('HSET', head, 'v', version + events, 'tx', tx, 'at', at_text)
    end
  end
  for _ = 1, operations do
    local letter = ARGV[arg]
    APPLY[letter](prefix, flow, arg, at, started_at)
    if letter == 'h' and ARGV[arg + 1] == 'status' then status = ARGV[arg + 2] end
    arg = arg + ARITY[letter] + 1
  end
  if events > 0 then
    redis.call('XADD', prefix .. 'feed', 'MAXLEN', '~', FEED, '*', 'e',
      flow .. ' ' .. (version + 1) .. ' ' .. (version + events) .. ' ' .. status)
  end
  return {1, version + events, at}
end

local prefixes = prefixes_from(1)
if not is_count(turns) or tonumber(turns) > TURNS then return bad('turns ' .. turns) end
if not is_count(streams) then return bad('streams ' .. streams) end
turns, streams = tonumber(turns), tonumber(streams)
if consumer ~= '' then
  local wrong = wrong_fetch(prefixes, consumer, slots, control, 7, streams)
  if wrong then return bad(wrong) end
end
local arg, begins, flows = 7 + 4 * streams, {}, {}
for i = 1, turns do
  begins[i] = arg
  local next_arg, wrong = check_turn(prefixes, arg)
  if wrong then return bad(wrong) end
  if flows[ARGV[arg + 1]] then return bad('two turns of flow ' .. ARGV[arg + 1]) end
  flows[ARGV[arg + 1]] = true
  arg = next_arg
end
if arg ~= #ARGV + 1 then return bad('arguments left over') end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local now, replies = clock_ms(), {}
for i = 1, turns do replies[i] = turn(prefixes, begins[i], now) end
if consumer == '' then return {now, replies, {}} end
return {now, replies, fetch(prefixes, consumer, tonumber(slots), tonumber(control), 7, streams)}
