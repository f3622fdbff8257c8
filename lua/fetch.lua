#!lua
-- Purpose: hand waiting entries of dispatch streams to a consumer, without waiting.
-- Method: fetch
-- KEYS: partition...
--   the `{ns:p}:id` of each partition named; its dispatch streams have the same prefix
-- ARGV: instance consumer slots control streams
--   then four a stream: number of its partition in KEYS, stream, among how many readers it is shared, how
--   many entries of it the consumer holds already
-- Reply: an array of {number of the partition, stream, entries}
-- Crash: deliveries are its only writes; an entry delivered without a reply is pending for this
--   consumer, and its renewals bring it back.
local instance, consumer, slots, control, streams = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- include: names
-- include: partitions
-- include: fetch

local prefixes = prefixes_from(1)
if not is_count(streams) then return bad('streams ' .. streams) end
local wrong = wrong_fetch(prefixes, consumer, slots, control, 6, tonumber(streams))
if wrong then return bad(wrong) end
local emptied = emptied_from(1, instance)
if emptied then return emptied end
return fetch(prefixes, consumer, tonumber(slots), tonumber(control), 6, tonumber(streams))
