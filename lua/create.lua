#!lua
-- Purpose: create a namespace at its first use, or find it again; and see that no foreign key is in its way.
-- Method: open
-- KEYS: meta partition...
--   `{ns}:meta` and the `{ns:p}:id` of every partition that the caller expects
-- ARGV: instance layout own fixed
--   the instance id and layout to create it with; then, as pairs of (name, type), `own` keys beside
--   meta and `fixed` keys of each partition, whose types are known
-- Reply: {instance, layout, partitions}; with another layout or another number of partitions than the
--   caller's nothing was looked at or written: ask again with what is there
-- Crash: an instance id without `ready` is a creation that stopped; the next call goes on with the same id.
--   Only a ready namespace with a missing or foreign `:id` counts as emptied.
local instance, layout, own, fixed = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include: names
-- include: partitions

local PARTITIONS = 1024

local function wrong_type(prefix, first, count)
  for arg = first, first + 2 * count - 1, 2 do
    local found = redis.call('TYPE', prefix .. ARGV[arg]).ok
    if found ~= 'none' and found ~= ARGV[arg + 1] then
      return redis.error_reply('WRONGTYPE ' .. prefix .. ARGV[arg] .. ' is a ' .. found .. ', not a ' .. ARGV[arg + 1])
    end
  end
end

if instance == '' or not is_count(layout) then return bad('instance ' .. instance .. ' layout ' .. layout) end
if not (is_count(own) and is_count(fixed)) or #ARGV ~= 4 + 2 * (own + fixed) then return bad('types') end
if #KEYS < 2 or #KEYS > PARTITIONS + 1 then return bad('partitions ' .. #KEYS - 1) end

local meta, prefixes = KEYS[1], prefixes_from(2)
if redis.call('TYPE', meta).ok == 'none' then
  for i = 2, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 1 then
      return redis.error_reply('EMPTIED ' .. meta .. ' is gone, and ' .. KEYS[i] .. ' is not')
    end
  end
else
  local kept = redis.call('HMGET', meta, 'instance', 'layout', 'partitions')
  if not (kept[1] and kept[2] and kept[3]) then
    return redis.error_reply('EMPTIED ' .. meta .. ' lacks its instance, layout or partitions')
  end
  if kept[2] ~= layout or tonumber(kept[3]) ~= #prefixes then
    return {kept[1], tonumber(kept[2]), tonumber(kept[3])}
  end
  instance = kept[1]
end

local wrong = wrong_type(string.sub(meta, 1, -5), 5, tonumber(own))
for i = 1, #prefixes do wrong = wrong or wrong_type(prefixes[i], 5 + 2 * own, tonumber(fixed)) end
if wrong then return wrong end

local is_ready = redis.call('HEXISTS', meta, 'ready') == 1
for i = 2, #KEYS do
  local id = redis.call('GET', KEYS[i])
  if id ~= instance and (id or is_ready) then
    return redis.error_reply('EMPTIED ' .. KEYS[i] .. ' is ' .. (id and 'of another instance' or 'missing'))
  end
end
redis.call('HSET', meta, 'instance', instance, 'layout', layout, 'partitions', #prefixes)
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], instance)
  redis.pcall('XGROUP', 'CREATE', prefixes[i - 1] .. 'control', 'engines', '0', 'MKSTREAM')
end
redis.call('HSET', meta, 'ready', '1')
return {instance, tonumber(layout), #prefixes}
