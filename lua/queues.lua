#!lua
-- Purpose: record queues, and create the stream and the group of each in every partition.
-- Method: add_queues
-- KEYS: queues partition...
--   `{ns}:queues` and the `{ns:p}:id` of every partition; on a cluster one of them alone
-- ARGV: instance
--   then the names
-- Reply: how many names were new
-- Crash: groups come before the names, so whoever reads a name finds its groups; a repeat does the rest. On a
--   cluster the partitions are called before the names are.
local instance = ARGV[1]
-- include: names
-- include: partitions

local QUEUES = 1000

if #ARGV > QUEUES + 1 then return bad('queues ' .. #ARGV - 1) end
for arg = 2, #ARGV do
  if not is_stream('work:' .. ARGV[arg]) then return bad('queue ' .. ARGV[arg]) end
end
local first = first_partition()
local emptied = emptied_from(first, instance)
if emptied then return emptied end

local prefixes = prefixes_from(first)
for i = 1, #prefixes do
  redis.pcall('XGROUP', 'CREATE', prefixes[i] .. 'control', 'engines', '0', 'MKSTREAM')
  for arg = 2, #ARGV do
    redis.pcall('XGROUP', 'CREATE', prefixes[i] .. 'work:' .. ARGV[arg], 'engines', '0', 'MKSTREAM')
  end
end
local added = 0
if first == 1 then return added end
for arg = 2, #ARGV do added = added + redis.call('SADD', KEYS[1], ARGV[arg]) end
return added
