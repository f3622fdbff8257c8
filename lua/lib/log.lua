-- Compare and append: what flows and the catalog have in common. A log is a stream whose ids
-- `1-0, 2-0, ...` are its versions; its head is a hash with v, tx and at of the last event, t0 (at of
-- the first) and sealed.

local MISSED = 500

-- The reply of a refusal: 0, the log's version, more, sealed, the missed events. They begin with the
-- one at the version held, so that the caller sees whose transaction is there. Who wanted to start
-- gets event 1 only, and who holds more than there is gets nothing.
local function refused(log, held, version, sealed)
  local events, more = {}, 0
  if held == 0 then
    events = redis.call('XRANGE', log, '1-0', '1-0')
    if version > 1 then more = 1 end
  elseif held <= version then
    events = redis.call('XRANGE', log, held .. '-0', '+', 'COUNT', MISSED)
    if version >= held + MISSED then more = 1 end
  end
  return {0, version, more, sealed and 1 or 0, events}
end

-- The version of a log by its stream, for when its head says something else.
local function version_of(log)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  return last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
end

-- Appends `count` events (four ARGV each: type, cause, by, data) from ARGV[first] on. False, and
-- nothing written, when the stream does not go on where its head ends: the id is taken already, or
-- (NOMKSTREAM) the stream is gone. Later ids cannot be refused once the first was taken.
local function append(log, version, tx, at, first, count)
  for i = 1, count do
    local arg = first + 4 * (i - 1)
    local id, place = (version + i) .. '-0', tx .. ':' .. i .. '/' .. count
    local added
    if i > 1 then
      redis.call('XADD', log, id, 'type', ARGV[arg], 'at', at, 'cause', ARGV[arg + 1], 'by', ARGV[arg + 2],
        'tx', place, 'data', ARGV[arg + 3])
    else
      if version == 0 then
        added = redis.pcall('XADD', log, id, 'type', ARGV[arg], 'at', at, 'cause', ARGV[arg + 1],
          'by', ARGV[arg + 2], 'tx', place, 'data', ARGV[arg + 3])
      else
        added = redis.pcall('XADD', log, 'NOMKSTREAM', id, 'type', ARGV[arg], 'at', at, 'cause', ARGV[arg + 1],
          'by', ARGV[arg + 2], 'tx', place, 'data', ARGV[arg + 3])
      end
      if type(added) ~= 'string' then return false end
    end
  end
  return true
end

-- What is wrong with the events from ARGV[first] on, or nil.
local function wrong_events(first, count)
  for arg = first, first + 4 * count - 1, 4 do
    if ARGV[arg] == '' or not is_count(ARGV[arg + 1]) then return 'event ' .. ARGV[arg] end
  end
end

-- What is wrong with a compare, or nil.
local function wrong_compare(version, last_tx, tx)
  if not is_count(version) then return 'version ' .. version end
  if (version == '0') ~= (last_tx == '') then return 'last_tx ' .. last_tx .. ' at version ' .. version end
  if tx == '' or string.find(tx, '[%s:]') then return 'tx ' .. tx end
end
