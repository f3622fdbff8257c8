#!lua
-- Purpose: put right what is kept beside a log, if the log still ends where it did when that was decided.
-- Method: repair
-- KEYS: partition
--   the `{ns:p}:id` of the partition
-- ARGV: instance flow version tx
--   whose log has to end at this version with this transaction (0 and none: it has no log), or no flow at all;
--   then operations, each a letter and its arguments:
--     f name value     set a field of the head, by its own name     r index score  put the flow into an index
--     x name           remove a field of the head                   o index        take it out
--     k                remove a head whose log is gone              m member       remove a due member
--     e stream entry stranded   delete an entry; with 1 only if it was delivered and nobody has it
--     c stream consumer         forget a consumer that has nothing pending
--     n hash was users          set how many use a plan, if it is what it was; at 0 it goes
--     b entry                   remove an entry from `dead`
-- Reply: 1, or 0 when the log has gone on and nothing was written
-- Crash: all arguments are checked before the first write, and every operation leaves a state that another look
--   finds: what is not done yet is found wrong once more. The log itself is never written.
local instance, flow, version, tx = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include: names
-- include: partitions
-- include: log

local OPERATIONS = 20000
local ARITY = {f = 2, x = 1, k = 0, r = 2, o = 1, m = 1, e = 3, c = 2, n = 3, b = 1}
local NEEDS_FLOW = {f = true, x = true, k = true, r = true, o = true}

local function is_row(index)
  return is_index(index) or index == 'expire' or index == 'tree'
end

local CHECK = {
  f = function(arg) return version ~= '0' and ARGV[arg] ~= '' end,
  x = function(arg) return ARGV[arg] ~= '' end,
  k = function() return version == '0' end,
  r = function(arg) return is_row(ARGV[arg]) and is_count(ARGV[arg + 1]) end,
  o = function(arg) return is_row(ARGV[arg]) end,
  m = function(arg) return ARGV[arg] ~= '' end,
  e = function(arg)
    return is_stream(ARGV[arg]) and is_entry(ARGV[arg + 1]) and (ARGV[arg + 2] == '0' or ARGV[arg + 2] == '1')
  end,
  c = function(arg) return is_stream(ARGV[arg]) and ARGV[arg + 1] ~= '' end,
  n = function(arg) return ARGV[arg] ~= '' and is_count(ARGV[arg + 1]) and is_count(ARGV[arg + 2]) end,
  b = function(arg) return is_entry(ARGV[arg]) end,
}

-- What is wrong with the operations from ARGV[5] on, or nil.
local function wrong_operations()
  local arg, count = 5, 0
  while arg <= #ARGV do
    local letter = ARGV[arg]
    local arity = ARITY[letter]
    count = count + 1
    if not arity or arg + arity > #ARGV or count > OPERATIONS then return 'operation ' .. letter end
    if flow == '' and NEEDS_FLOW[letter] then return 'operation ' .. letter .. ' without a flow' end
    if not CHECK[letter](arg + 1) then return 'operation ' .. letter .. ' ' .. tostring(ARGV[arg + 1]) end
    arg = arg + arity + 1
  end
end

-- The fields of a row of XINFO by name.
local function named(row)
  local fields = {}
  for i = 1, #row, 2 do fields[row[i]] = row[i + 1] end
  return fields
end

-- Whether an entry was delivered, and nobody has it.
local function is_stranded(key, entry)
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  for i = 1, groups.err and 0 or #groups do
    local group = named(groups[i])
    if group.name == 'engines' then
      if #redis.call('XPENDING', key, 'engines', entry, entry, 1) > 0 then return false end
      local last, last_sequence = string.match(group['last-delivered-id'], '^(%d+)-(%d+)$')
      local ms, sequence = string.match(entry, '^(%d+)-(%d+)$')
      if ms ~= last then return tonumber(ms) < tonumber(last) end
      return tonumber(sequence) <= tonumber(last_sequence)
    end
  end
  return false
end

local function forget_consumer(key, name)
  local rows = redis.pcall('XINFO', 'CONSUMERS', key, 'engines')
  for i = 1, rows.err and 0 or #rows do
    local consumer = named(rows[i])
    if consumer.name == name and consumer.pending == 0 then
      redis.call('XGROUP', 'DELCONSUMER', key, 'engines', name)
    end
  end
end

local function count_users(key, was, users)
  if tonumber(redis.call('HGET', key, 'n') or 0) ~= tonumber(was) then return end
  if users == '0' then
    redis.call('DEL', key)
  elseif redis.call('HEXISTS', key, 'b') == 1 then
    redis.call('HSET', key, 'n', users)
  end
end

-- One function an operation: prefix, the flow's head, the place of its first argument.
local APPLY = {
  f = function(prefix, head, arg) redis.call('HSET', head, ARGV[arg], ARGV[arg + 1]) end,
  x = function(prefix, head, arg) redis.call('HDEL', head, ARGV[arg]) end,
  k = function(prefix, head) redis.call('DEL', head) end,
  r = function(prefix, head, arg)
    if ARGV[arg] == 'expire' then
      redis.call('ZADD', prefix .. 'expire', 'GT', ARGV[arg + 1], flow)
    else
      redis.call('ZADD', prefix .. ARGV[arg], ARGV[arg + 1], flow)
    end
  end,
  o = function(prefix, head, arg) redis.call('ZREM', prefix .. ARGV[arg], flow) end,
  m = function(prefix, head, arg) redis.call('ZREM', prefix .. 'due', ARGV[arg]) end,
  e = function(prefix, head, arg)
    local key, entry = prefix .. ARGV[arg], ARGV[arg + 1]
    if ARGV[arg + 2] == '1' and not is_stranded(key, entry) then return end
    redis.pcall('XACK', key, 'engines', entry)
    redis.call('XDEL', key, entry)
  end,
  c = function(prefix, head, arg) forget_consumer(prefix .. ARGV[arg], ARGV[arg + 1]) end,
  n = function(prefix, head, arg) count_users(prefix .. 'plan:' .. ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]) end,
  b = function(prefix, head, arg) redis.call('XDEL', prefix .. 'dead', ARGV[arg]) end,
}

if not is_count(version) or (version == '0') ~= (tx == '') then return bad('version ' .. version .. ' tx ' .. tx) end
local wrong = wrong_operations()
if wrong then return bad(wrong) end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local prefix = prefixes_from(1)[1]
if flow ~= '' then
  local log = prefix .. 'flow:' .. flow
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local found, found_tx = version_of(log), ''
  if last then
    for i = 1, #last[2], 2 do
      if last[2][i] == 'tx' then found_tx = string.match(last[2][i + 1], '^[^:]*') end
    end
  end
  if found ~= tonumber(version) or found_tx ~= tx then return 0 end
end
local arg = 5
while arg <= #ARGV do
  APPLY[ARGV[arg]](prefix, prefix .. 'head:' .. flow, arg + 1)
  arg = arg + ARITY[ARGV[arg]] + 1
end
return 1
