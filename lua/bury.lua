#!lua
-- Purpose: move an entry that nobody can read to `dead`, with all its fields.
-- Method: bury
-- KEYS: partition
--   the `{ns:p}:id` of its partition
-- ARGV: instance stream entry reason
-- Reply: 1, or 0 when the entry is gone
-- Crash: it is in `dead` before it leaves its stream, so it may be there twice.
local instance, stream, entry, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include: names
-- include: partitions

local FIELDS = 100

if not is_stream(stream) then return bad('stream ' .. stream) end
if not is_entry(entry) then return bad('entry ' .. entry) end
local emptied = emptied_from(1, instance)
if emptied then return emptied end

local prefix = prefixes_from(1)[1]
local key = prefix .. stream
local found = redis.call('XRANGE', key, entry, entry)[1]
if found then
  redis.call('XADD', prefix .. 'dead', '*', 'stream', stream, 'reason', reason,
    unpack(found[2], 1, math.min(#found[2], 2 * FIELDS)))
end
redis.pcall('XACK', key, 'engines', entry)
return redis.call('XDEL', key, entry)
