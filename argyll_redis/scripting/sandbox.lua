-- The sandbox that the scripts of users run in. Loaded once into each Lua runtime, by lua.py.
--
-- Arguments: instructions  limit of a run, in virtual machine instructions
--            stride        instructions between two looks at the clock
--            seconds       processor time of a run
--            result_bytes  limit of a result, as JSON
--            nesting       deepest result, in containers
--            spread        most values that one library call moves or unpacks
--            short_bytes   longest text that may be compared without being metered
--            error_bytes   most of an error's text that is kept
--            thread_seconds  Python function: processor time of the calling thread
-- Returns:   check(source)          what a script has to begin with to compile ("return " or nothing);
--                                   what is wrong with it, or nothing; bytes read until then
--            fits(source, prefix)   whether it compiles with something before it
--            load(source, prefix)   the function; an error when it does not compile
--            test(f, ...)           true or false: whether f(...) is true
--            value(f, ...)          a scalar; or true and JSON text: what f(...) is
--            test_all, value_all(f, values, count, globals)  the same for a list of values, and with
--                                   further variables that are globals of the run, or nil
--            All four answer a failure with: kind ("limit", "memory", "error"), message, line.
--
-- What a script must not do decides the shape of this file. The count hook stops Lua code only, so
-- whatever runs long in C is left out (patterns, rep), bounded (unpack, move, insert, remove) or
-- made to call back into Lua (sort). Operators on long text and full collections near the memory
-- limit run long in C too and cannot be replaced: the clock is the backstop for those. It is read
-- every few instructions, as one instruction may cost milliseconds.

local EXPRESSION = "return "
local INSTRUCTIONS, STRIDE, SECONDS, RESULT_BYTES, NESTING, SPREAD, SHORT_BYTES, ERROR_BYTES, thread_seconds = ...

local clock, sethook, getinfo = os.clock, debug.sethook, debug.getinfo
local error, load, next, select, setmetatable, tostring, tonumber, type, xpcall =
  error, load, next, select, setmetatable, tostring, tonumber, type, xpcall
local find, format, gsub, match, sub = string.find, string.format, string.gsub, string.match, string.sub
local concat, insert, move, pack, remove, sort, unpack =
  table.concat, table.insert, table.move, table.pack, table.remove, table.sort, table.unpack
local math_type, tointeger, huge = math.type, math.tointeger, math.huge
local utf8_length = utf8.len

-- lupa looks a global of this name up before each call, outside a protected one: kept alive, the
-- name never has to be allocated again, so a full runtime cannot abort the process there.
debug.getregistry().argyll_anchor = "debug"

-- ------------------------------------------------------------------- library

local function check_table(name, value)
  if type(value) ~= "table" then
    error(format("bad argument #1 to '%s' (table expected, got %s)", name, type(value)), 3)
  end
end

-- Refuses a C loop over more than SPREAD values. Differences are taken as floats: they do not wrap.
local function check_spread(name, first, last)
  first, last = tonumber(first), tonumber(last)
  if first and last and last - (first + 0.0) >= SPREAD then
    error(format("'%s' handles at most %d values at a time", name, SPREAD), 3)
  end
end

-- The text of any value; tables and functions have no address here, as it differs from run to run.
local function plain_text(value)
  local kind = type(value)
  if kind == "table" or kind == "function" then return kind end
  return tostring(value)
end

local function safe_format(pattern, ...)
  if type(pattern) == "string" and find(pattern, "p", 1, true)
    and find(gsub(pattern, "%%%%", ""), "%%[-+ #0-9.]*p") then
    error("bad argument #1 to 'format' (%p is not available)", 2)
  end
  local values = pack(...)
  for i = 1, values.n do
    local kind = type(values[i])
    if kind == "table" or kind == "function" then values[i] = kind end
  end
  return format(pattern, unpack(values, 1, values.n))
end

local function safe_insert(list, ...)
  check_table("insert", list)
  if select("#", ...) == 2 then check_spread("insert", (...), #list) end
  return insert(list, ...)
end

local function safe_remove(list, ...)
  check_table("remove", list)
  if select("#", ...) > 0 then check_spread("remove", (...), #list) end
  return remove(list, ...)
end

local function safe_move(source, first, last, to, target)
  check_spread("move", first, last)
  if target == nil then return move(source, first, last, to) end
  return move(source, first, last, to, target)
end

local function safe_unpack(list, first, last)
  check_table("unpack", list)
  if last == nil then last = #list end
  check_spread("unpack", first or 1, last)
  return unpack(list, first, last)
end

local function before(left, right) return left < right end

-- Whether a list holds only numbers, or only short texts: then comparing is cheap and cannot fail.
local function is_plain(list, size)
  local kind = type(list[1])
  if kind ~= "number" and kind ~= "string" then return false end
  for i = 1, size do
    local item = list[i]
    if type(item) ~= kind or kind == "string" and #item > SHORT_BYTES then return false end
  end
  return true
end

-- Sorts through a comparison in Lua, so that the hook sees each one. (The C function picks a random
-- pivot only for badly unbalanced lists; there the order of equal items is open.)
local function safe_sort(list, comes_before)
  check_table("sort", list)
  if comes_before == nil then
    if is_plain(list, #list) then return sort(list) end
    return sort(list, before)
  end
  if type(comes_before) == "function" and getinfo(comes_before, "S").what == "C" then
    return sort(list, function(left, right) return comes_before(left, right) end)
  end
  return sort(list, comes_before)
end

-- Puts keys in order: numbers, then texts, then the rest as they come.
local function order(keys)
  local numbers, texts, others = {}, {}, {}
  for i = 1, #keys do
    local key = keys[i]
    local kind = type(key)
    local group = kind == "number" and numbers or kind == "string" and texts or others
    group[#group + 1] = key
  end
  safe_sort(numbers)
  safe_sort(texts)
  move(texts, 1, #texts, #numbers + 1, numbers)
  return move(others, 1, #others, #numbers + 1, numbers)
end

-- Goes through a table in the order of its keys. Lua's own order differs from process to process,
-- and two processes that decide the same should come to the same.
local function ordered_pairs(list)
  check_table("pairs", list)
  local keys, size, in_order = {}, 0, true
  for key in next, list do
    size = size + 1
    keys[size] = key
    in_order = in_order and key == size
  end
  if in_order then return next, list, nil end
  keys = order(keys)
  local place = 0
  return function()
    while true do
      place = place + 1
      local key = keys[place]
      if key == nil then return nil end
      local value = list[key]
      if value ~= nil then return key, value end
    end
  end, list, nil
end

local function choose(library, names)
  local chosen = {}
  for name in string.gmatch(names, "%w+") do chosen[name] = library[name] end
  return chosen
end

-- A library that scripts share: it can be read only, so nothing stays behind for the next run.
local function sealed(library, name)
  return setmetatable({}, {
    __index = library,
    __newindex = function() error("the library '" .. name .. "' is read-only", 2) end,
  })
end

local safe_string = choose(string, "byte char len lower pack packsize reverse sub unpack upper")
safe_string.format = safe_format
local safe_table = choose(table, "concat pack")
safe_table.insert, safe_table.remove, safe_table.move = safe_insert, safe_remove, safe_move
safe_table.unpack, safe_table.sort = safe_unpack, safe_sort
local safe_math = choose(math, "abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min "
  .. "mininteger modf pi rad sin sqrt tan tointeger type ult")

local globals_mt = {
  __index = {
    error = error, ipairs = ipairs, next = next, pairs = ordered_pairs, select = select,
    tonumber = tonumber, tostring = plain_text, type = type,
    math = sealed(safe_math, "math"), string = sealed(safe_string, "string"),
    table = sealed(safe_table, "table"),
    utf8 = sealed(choose(utf8, "char charpattern codepoint codes len offset"), "utf8"),
  },
}
getmetatable("").__index = safe_string

-- --------------------------------------------------------------------- limits

local TOO_MANY, TOO_LONG = {}, {}
local LIMITS = {
  [TOO_MANY] = format("the script used more than %d instructions", INSTRUCTIONS),
  [TOO_LONG] = format("the script used more than %g s of processor time", SECONDS),
}
local MEMORY = "not enough memory"

local steps, deadline, own_start

-- The process clock is cheap to read but counts all threads. When it says half of the time is over,
-- the thread's own clock is asked, and has the last word.
local function tick()
  steps = steps + STRIDE
  if steps >= INSTRUCTIONS then error(TOO_MANY, 0) end
  local now = clock()
  if now < deadline then return end
  local own = thread_seconds()
  own_start = own_start or own
  local left = SECONDS / 2 - (own - own_start)
  if left <= 0 then error(TOO_LONG, 0) end
  deadline = now + left
end

local function begin()
  steps, own_start, deadline = 0, nil, clock() + SECONDS / 2
  sethook(tick, "", STRIDE)
end

local failed_line

-- Notes where the script was when it failed. Runs on the failing stack, before it unwinds.
local function on_error(reason)
  sethook()
  for level = 2, 50 do
    local info = getinfo(level, "Sl")
    if info == nil then break end
    if info.source == "=script" then
      failed_line = info.currentline
      break
    end
  end
  return reason
end

local function failure(reason)
  local line = failed_line
  failed_line = nil
  if LIMITS[reason] then return "limit", LIMITS[reason], line end
  if reason == MEMORY then return "memory", MEMORY, line end
  local kind = type(reason)
  if kind ~= "string" and kind ~= "number" then
    return "error", "the script raised an error that is not text (" .. kind .. ")", line
  end
  local text = sub(tostring(reason), 1, ERROR_BYTES)
  local place, rest = match(text, "^script:(%d+): (.*)$")
  text = rest or match(text, "^sandbox:%d+: (.*)$") or text
  if not utf8_length(text) then text = gsub(text, "[\128-\255]", "?") end
  return "error", text, tonumber(place) or line
end

-- -------------------------------------------------------------------- results

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\" }
for code = 0, 31 do ESCAPES[string.char(code)] = format("\\u%04x", code) end

-- What is being written: pieces of JSON, their size, the keys that lead to the current value and how
-- many they are, and the tables that are being written. Pieces are joined now and then: a piece of
-- one byte takes sixteen in a table.
local PIECES = 4096
local pieces, written, path, depth, open

local function refuse(what)
  local place = depth == 0 and "the result" or "result"
  for i = 1, depth do
    local key = path[i]
    place = place .. (type(key) == "string" and "." .. sub(key, 1, 100) or "[" .. key .. "]")
  end
  error(place .. " " .. what, 0)
end

local function write(piece)
  written = written + #piece
  if written > RESULT_BYTES then error(format("the result is larger than %d bytes", RESULT_BYTES), 0) end
  if #pieces == PIECES then pieces = { concat(pieces) } end
  pieces[#pieces + 1] = piece
end

local function check_text(text)
  if not utf8_length(text) then refuse("is text that is not valid UTF-8") end
  if #text > RESULT_BYTES then error(format("the result is larger than %d bytes", RESULT_BYTES), 0) end
  return text
end

-- A whole number as an integer, whatever it was; NaN and infinity are refused.
local function check_number(number)
  if math_type(number) == "integer" then return number end
  if number ~= number then refuse("is not a number (NaN)") end
  if number == huge or number == -huge then refuse("is infinite") end
  return tointeger(number) or number
end

local function write_text(text)
  write('"' .. gsub(check_text(text), '[\0-\31"\\]', ESCAPES) .. '"')
end

-- The number of items of a list, or the ordered names of an object.
local function shape(value)
  local size, names, last = 0, {}, 0
  for key in next, value do
    size = size + 1
    if type(key) == "string" then
      names[#names + 1] = key
    elseif math_type(key) == "integer" then
      if key < 1 then refuse("has the key " .. key .. ": a list begins at 1") end
      if key > last then last = key end
    else
      refuse("has a key that is a " .. type(key) .. ": keys are text, or 1, 2, 3 and so on")
    end
  end
  if size * 2 > RESULT_BYTES then error(format("the result is larger than %d bytes", RESULT_BYTES), 0) end
  if #names == size then
    safe_sort(names)
    return nil, names
  end
  if #names > 0 then refuse("mixes names and list items: a table is an object or a list") end
  if last ~= size then refuse("is a list with holes: its keys must be 1, 2, 3 and so on") end
  return size
end

local write_value

local function write_list(value, size)
  write("[")
  for i = 1, size do
    if i > 1 then write(",") end
    path[depth] = i
    write_value(value[i])
  end
  write("]")
end

local function write_object(value, names)
  write("{")
  for i = 1, #names do
    if i > 1 then write(",") end
    local name = names[i]
    path[depth] = name
    write_text(name)
    write(":")
    write_value(value[name])
  end
  write("}")
end

local function write_table(value)
  if open[value] then refuse("holds itself") end
  if depth >= NESTING then error(format("the result is nested deeper than %d levels", NESTING), 0) end
  local size, names = shape(value)
  open[value] = true
  depth = depth + 1
  if size then write_list(value, size) else write_object(value, names) end
  depth = depth - 1
  open[value] = nil
end

function write_value(value)
  local kind = type(value)
  if kind == "string" then return write_text(value) end
  if kind == "table" then return write_table(value) end
  if kind == "boolean" then return write(tostring(value)) end
  if kind ~= "number" then return refuse("is a " .. kind) end
  value = check_number(value)
  return write(format(math_type(value) == "integer" and "%d" or "%.17g", value))
end

-- Two values for a table (true and its JSON), one for anything else. Not metered: it is bounded by
-- the size of what it writes.
local function convert(value)
  sethook()
  local kind = type(value)
  if kind == "nil" or kind == "boolean" then return value end
  pieces, written, path, depth, open = {}, 0, {}, 0, {}
  if kind == "string" then return check_text(value) end
  if kind == "number" then return check_number(value) end
  if kind ~= "table" then refuse("is a " .. kind) end
  write_table(value)
  return true, concat(pieces)
end

-- -------------------------------------------------------------------- running

local function settle_test(ok, result)
  sethook()
  if ok then return not not result end
  return failure(result)
end

local function settle_value(ok, ...)
  sethook()
  pieces, path, open = nil, nil, nil
  if ok then return ... end
  return failure((...))
end

local function compute(f, ...)
  return convert((f(...)))
end

local function test(f, ...)
  begin()
  return settle_test(xpcall(f, on_error, setmetatable({}, globals_mt), ...))
end

local function value(f, ...)
  begin()
  return settle_value(xpcall(compute, on_error, f, setmetatable({}, globals_mt), ...))
end

local function test_all(f, values, count, globals)
  begin()
  return settle_test(xpcall(f, on_error, setmetatable(globals or {}, globals_mt), unpack(values, 1, count)))
end

local function value_all(f, values, count, globals)
  begin()
  return settle_value(xpcall(compute, on_error, f, setmetatable(globals or {}, globals_mt), unpack(values, 1, count)))
end

-- Compiles text, never bytecode.
local function compile(source, prefix)
  return load(prefix .. source .. "\n", "=script", "t", {})
end

local function load_or_raise(source, prefix)
  local f, message = compile(source, prefix)
  return f or error(message, 0)
end

-- Why a text does not compile, and how many of its bytes had been read by then.
local function diagnose(source)
  local read = 0
  local _, message = load(function()
    read = read + 1
    return sub(source, read, read)
  end, "=script", "t", {})
  return message, read
end

-- How a script is read: an expression alone is a script that returns it. Of two readings that both
-- fail the one that got further is reported.
local function check(source)
  if compile(source, EXPRESSION) then return EXPRESSION, "", 0 end
  if compile(source, "") then return "", "", 0 end
  local message, read = diagnose(source)
  local other, other_read = diagnose(EXPRESSION .. source)
  other_read = other_read - #EXPRESSION
  if other_read > read then return "", other, other_read end
  return "", message, read
end

local function fits(source, prefix)
  return compile(source, prefix) ~= nil
end

local globals = _G
for name in next, globals do globals[name] = nil end

return check, fits, load_or_raise, test, value, test_all, value_all
