#!lua
-- Purpose: keep what an engine found of the health of the steps, for so long.
-- Method: tell_health
-- KEYS: health meta
--   `{ns}:health:<engine>` and `{ns}:meta`, whose instance is compared
-- ARGV: instance found alive
--   the bytes to keep, and for how many ms
-- Reply: OK
-- Crash: there is one write.
local instance, found, alive = ARGV[1], ARGV[2], ARGV[3]
-- include: partitions

if not string.find(alive, '^[1-9]%d*$') then return bad('alive ' .. alive) end
local emptied = emptied_meta(instance)
if emptied then return emptied end
return redis.call('SET', KEYS[1], found, 'PX', alive)
