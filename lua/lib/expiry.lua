-- What belongs to a tree and when it goes; needs partitions. `expire` has roots by the time of the last seal in
-- their tree, `tree` the sealed children and `children` the open ones, both in the order of their ids: so those of
-- one root are together, whose ids go on with a colon.

local function root_of(flow)
  return string.match(flow, '^[^:]*')
end

-- Both ends of the ids of a root's children, for ZRANGE BYLEX: a semicolon comes right after a colon.
local function ends_of(root)
  return '[' .. root .. ':', '(' .. root .. ';'
end

-- Closes a log. A child that outlives its root, or has none, puts off the end of the tree.
local function seal(prefix, flow, at)
  local root, expire = root_of(flow), prefix .. 'expire'
  redis.call('HSET', prefix .. 'head:' .. flow, 'sealed', '1')
  if flow == root then
    redis.call('ZADD', expire, 'GT', whole(at), root)
    return
  end
  redis.call('ZADD', prefix .. 'tree', 0, flow)
  local kept = redis.call('HMGET', prefix .. 'head:' .. root, 'v', 'sealed')
  if kept[2] or not kept[1] then redis.call('ZADD', expire, 'GT', whole(at), root) end
end

-- Whether a flow is in an index for as long as it is there: its head says so then, as nothing else could
-- tell who removes it.
local function is_lasting(index)
  return index ~= 'open' and index ~= 'children'
end

local function add_to_index(prefix, flow, index, started_at)
  if is_lasting(index) then redis.call('HSET', prefix .. 'head:' .. flow, '#' .. index, '') end
  redis.call('ZADD', prefix .. index, index == 'children' and 0 or started_at, flow)
end

local function remove_from_index(prefix, flow, index)
  if is_lasting(index) then redis.call('HDEL', prefix .. 'head:' .. flow, '#' .. index) end
  redis.call('ZREM', prefix .. index, flow)
end
