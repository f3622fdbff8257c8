#!lua
-- Purpose: create a namespace at its first use, or find it again; and see that no foreign key is in its way.
-- Method: open
-- KEYS: meta partition...
--   `{ns}:meta` and the `{ns:p}:id` of every partition that the caller expects; on a cluster one of them alone
-- ARGV: instance layout partitions state own fixed
--   the instance id, layout and number of partitions to create it with; for one key alone what its caller knows
--   of the namespace: `look` (write nothing), `begun` or `ready`; then, as pairs of (name, type), `own` keys
--   beside meta and `fixed` keys of each partition, whose types are known
-- Reply: {instance, layout, partitions, 1 when it is ready, 0 when it is begun, -1 when meta is not there}; with
--   another layout or another number of partitions than the caller's nothing was looked at or written: ask
--   again with what is there. OK for a partition alone
-- Crash: an instance id without `ready` is a creation that stopped; the next call goes on with the same id.
--   Only a ready namespace with a missing or foreign `:id` counts as emptied. On a cluster the calls keep that
--   order: look at meta and, where it is not there, at all partitions; meta begun, each partition, meta ready.
--   Two that create at once find the id of the one that began first, and both go on with it.
local instance, layout, partitions, state, own, fixed = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- include: names
-- include: partitions

local PARTITIONS = 1024

local function emptied(what)
  return redis.error_reply('EMPTIED ' .. what)
end

local function wrong_type(prefix, first, count)
  for arg = first, first + 2 * count - 1, 2 do
    local found = redis.call('TYPE', prefix .. ARGV[arg]).ok
    if found ~= 'none' and found ~= ARGV[arg + 1] then
      return redis.error_reply('WRONGTYPE ' .. prefix .. ARGV[arg] .. ' is a ' .. found .. ', not a ' .. ARGV[arg + 1])
    end
  end
end

if instance == '' or not is_count(layout) then return bad('instance ' .. instance .. ' layout ' .. layout) end
if not (is_count(own) and is_count(fixed)) or #ARGV ~= 6 + 2 * (own + fixed) then return bad('types') end
if not is_count(partitions) or partitions == '0' or tonumber(partitions) > PARTITIONS then
  return bad('partitions ' .. partitions)
end
local first = first_partition()
local prefixes = prefixes_from(first)
local is_whole = first == 2 and #prefixes > 0
if keys == 0 or is_whole and #prefixes ~= tonumber(partitions) then return bad('keys ' .. keys) end
if (state ~= '') == is_whole then return bad('state ' .. state) end

-- Where meta is: whether it is there and ready. Or the reply that ends the call.
local is_there, is_ready = state ~= 'look', state == 'ready'
local meta = KEYS[1]
if first == 2 then
  is_there, is_ready = redis.call('TYPE', meta).ok ~= 'none', false
  if is_there then
    local kept = redis.call('HMGET', meta, 'instance', 'layout', 'partitions', 'ready')
    if not (kept[1] and kept[2] and kept[3]) then return emptied(meta .. ' lacks its instance, layout or partitions') end
    is_ready = kept[4] ~= false
    if kept[2] ~= layout or kept[3] ~= partitions then
      return {kept[1], tonumber(kept[2]), tonumber(kept[3]), is_ready and 1 or 0}
    end
    if state == 'ready' and kept[1] ~= instance then return emptied(meta .. ' is of another instance') end
    instance = kept[1]
  elseif state == 'ready' then
    return emptied(meta .. ' is gone')
  end
end

local wrong = first == 2 and wrong_type(string.sub(meta, 1, -5), 7, tonumber(own))
for i = 1, #prefixes do wrong = wrong or wrong_type(prefixes[i], 7 + 2 * own, tonumber(fixed)) end
if wrong then return wrong end

for i = first, keys do
  local id = redis.call('GET', KEYS[i])
  if id and not is_there then return emptied(KEYS[i] .. ' is there, and its namespace is not') end
  if id ~= instance and (id or is_ready) then
    return emptied(KEYS[i] .. ' is ' .. (id and 'of another instance' or 'missing'))
  end
end
if state ~= 'look' then
  if first == 2 then redis.call('HSET', meta, 'instance', instance, 'layout', layout, 'partitions', partitions) end
  for i = 1, #prefixes do
    redis.call('SET', KEYS[first + i - 1], instance)
    redis.pcall('XGROUP', 'CREATE', prefixes[i] .. 'control', 'engines', '0', 'MKSTREAM')
  end
  if first == 2 and state ~= 'begun' then
    redis.call('HSET', meta, 'ready', '1')
    is_ready = true
  end
end
if first == 1 then return redis.status_reply('OK') end
return {instance, tonumber(layout), tonumber(partitions), is_ready and 1 or (is_there or state ~= 'look') and 0 or -1}
