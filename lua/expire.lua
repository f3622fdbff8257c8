#!lua
-- Purpose: remove trees that were kept for long enough: of each the children first, the root last.
-- Method: expire
-- KEYS: partition
--   the `{ns:p}:id` of the partition
-- ARGV: instance keep limit
--   for how many ms a tree is kept after its last seal, and how many flows to remove at most
-- Reply: {flows removed, 1 when there may be more to remove at once}
-- Crash: a flow goes whole: index rows, its use of plans, log and head. Of a tree with more flows than one call
--   removes, the root stays in `expire`, and the next call goes on: a root that is sealed can be without its
--   children. A tree with a flow that is open leaves `expire`; the seal of that flow adds it again.
local instance, keep, limit = ARGV[1], ARGV[2], ARGV[3]
-- include: names
-- include: partitions
-- include: expiry

local FLOWS = 1000

if not is_count(keep) then return bad('keep ' .. keep) end
if not is_count(limit) or limit == '0' or tonumber(limit) > FLOWS then return bad('limit ' .. limit) end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local prefix = prefixes_from(1)[1]
local expire, tree = prefix .. 'expire', prefix .. 'tree'
local left, removed = tonumber(limit), 0

local function is_open(root)
  local first, last = ends_of(root)
  local kept = redis.call('HMGET', prefix .. 'head:' .. root, 'v', 'sealed')
  if kept[1] and not kept[2] then return true end
  return redis.call('ZRANGE', prefix .. 'children', first, last, 'BYLEX', 'LIMIT', 0, 1)[1] ~= nil
end

-- Removes a flow, if it is there, by what its head says of it.
local function remove(flow)
  local head = prefix .. 'head:' .. flow
  local kept = redis.call('HGETALL', head)
  for i = 1, #kept, 2 do
    local mark, name = string.sub(kept[i], 1, 1), string.sub(kept[i], 2)
    if mark == '#' then
      redis.call('ZREM', prefix .. name, flow)
    elseif mark == '@' then
      local plan = prefix .. 'plan:' .. name
      if redis.call('HINCRBY', plan, 'n', -kept[i + 1]) <= 0 then redis.call('DEL', plan) end
    end
  end
  redis.call('ZREM', prefix .. 'open', flow)
  redis.call('ZREM', tree, flow)
  if redis.call('UNLINK', prefix .. 'flow:' .. flow, head) > 0 then removed = removed + 1 end
  left = left - 1
end

local function remove_tree(root)
  local first, last = ends_of(root)
  -- backwards: the id of a child begins with that of its parent, and comes after it
  local children = redis.call('ZRANGE', tree, last, first, 'BYLEX', 'REV', 'LIMIT', 0, left)
  for i = 1, #children do remove(children[i]) end
  if left > 0 then
    remove(root)
    redis.call('ZREM', expire, root)
  end
end

local before = clock_ms() - tonumber(keep)
local roots = redis.call('ZRANGE', expire, '-inf', whole(before), 'BYSCORE', 'LIMIT', 0, left)
for i = 1, #roots do
  if left == 0 then break end
  if is_open(roots[i]) then
    redis.call('ZREM', expire, roots[i])
    left = left - 1
  else
    remove_tree(roots[i])
  end
end
return {removed, left == 0 and 1 or 0}
