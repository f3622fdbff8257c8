-- Hands waiting entries to a consumer; needs names and partitions.
--
-- ARGV from `first` on: four a stream: number of its partition, stream, readers, held. Reply: an array of
-- {number of the partition, stream, entries}. Streams are tried in the order given until `slots` entries came
-- from work streams; from one at most ceil(its length / readers), less what the consumer holds of it
-- already, so that work spreads. A control stream needs no slot and gives up to `control` entries. Everything is in protected calls: a missing
-- group must not undo what was committed before.

local STREAMS = 4096

local function wrong_fetch(prefixes, consumer, slots, control, first, streams)
  if consumer == '' then return 'consumer' end
  if not (is_count(slots) and is_count(control)) then return 'slots ' .. slots .. ' control ' .. control end
  if streams > STREAMS or first + 4 * streams - 1 > #ARGV then return 'streams ' .. streams end
  for arg = first, first + 4 * streams - 1, 4 do
    if not prefixes[tonumber(ARGV[arg])] then return 'partition ' .. ARGV[arg] end
    if not is_stream(ARGV[arg + 1]) then return 'stream ' .. ARGV[arg + 1] end
    if not is_count(ARGV[arg + 2]) or ARGV[arg + 2] == '0' then return 'readers ' .. ARGV[arg + 2] end
    if not is_count(ARGV[arg + 3]) then return 'held ' .. ARGV[arg + 3] end
  end
end

local function fetch(prefixes, consumer, slots, control, first, streams)
  local found = {}
  for arg = first, first + 4 * streams - 1, 4 do
    local partition, stream = tonumber(ARGV[arg]), ARGV[arg + 1]
    local is_control = stream == 'control'
    local limit = is_control and control or slots
    if limit > 0 then
      local key = prefixes[partition] .. stream
      local length = redis.pcall('XLEN', key)
      if type(length) == 'number' and length > 0 then
        if not is_control then
          local share = math.ceil(length / tonumber(ARGV[arg + 2])) - tonumber(ARGV[arg + 3])
          limit = math.min(limit, share)
        end
        local reply = limit > 0
          and redis.pcall('XREADGROUP', 'GROUP', 'engines', consumer, 'COUNT', limit, 'STREAMS', key, '>')
        if reply and reply[1] then
          local entries = reply[1][2]
          if not is_control then slots = slots - #entries end
          found[#found + 1] = {partition, stream, entries}
        end
      end
    end
  end
  return found
end
