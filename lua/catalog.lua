#!lua
-- Purpose: append to the catalog if it is where the caller thinks, as commit.lua does for a flow.
-- Method: append_catalog
-- KEYS: meta catalog head
--   `{ns}:meta`, `{ns}:catalog`, `{ns}:catalog:head`
-- ARGV: instance version last_tx tx events
--   version held, tx at that version, tx, number of events; then four an event: type, cause, by, data
-- Reply: {1, version, at}, or {0, version, more, sealed, missed events}
-- Crash: all arguments are checked before the first write; a caller without a reply finds its own tx.
local instance, version, last_tx, tx, events = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- include: names
-- include: partitions
-- include: log

local EVENTS = 20000

local wrong = wrong_compare(version, last_tx, tx)
if wrong then return bad(wrong) end
if not is_count(events) or tonumber(events) > EVENTS or #ARGV ~= 5 + 4 * events then return bad('events ' .. events) end
wrong = wrong_events(6, tonumber(events))
if wrong then return bad(wrong) end
if redis.call('HGET', KEYS[1], 'instance') ~= instance then
  return redis.error_reply('EMPTIED ' .. KEYS[1] .. ' is not of the instance that was opened')
end

local held, log, head = tonumber(version), KEYS[2], KEYS[3]
events = tonumber(events)
local kept = redis.call('HMGET', head, 'v', 'tx', 'at')
local current = tonumber(kept[1] or 0)
if current ~= held or (kept[2] or '') ~= last_tx then return refused(log, held, current) end
local at = math.max(clock_ms(), tonumber(kept[3] or 0))
if events > 0 then
  if not append(log, held, tx, whole(at), 6, events) then return refused(log, held, version_of(log)) end
  if held == 0 then redis.call('HSET', head, 't0', whole(at)) end
  redis.call('HSET', head, 'v', held + events, 'tx', tx, 'at', whole(at))
end
return {1, held + events, at}
