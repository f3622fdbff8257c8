"""Lua: what scripts see, what becomes of what they return, and that no script does harm."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from argyll_redis.errors import ScriptError
from argyll_redis.scripting.lua import Lua
from argyll_redis.scripting.protocol import Purpose

LUA = Lua()
MAX_CPU_S = 1.0
"""Processor time that nothing may exceed: the limit of a run is a third of it."""


def run(source: str, **names: Any) -> Any:
    return LUA.compile(source, Purpose.STEP).value(names, names)


def holds(source: str, **names: Any) -> bool:
    return LUA.compile(source, Purpose.PREDICATE).holds(names, names)


def failure(source: str, **names: Any) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        run(source, **names)
    return caught.value


# ------------------------------------------------------------------ environment


THERE = """
    type tostring tonumber pairs ipairs next select error math string table utf8
    math.floor math.huge math.pi math.tointeger string.format string.upper string.byte string.sub string.len
    table.concat table.insert table.remove table.sort table.unpack table.move table.pack
    utf8.char utf8.len utf8.codes
"""
ABSENT = """
    _G os io debug require package load loadstring loadfile dofile coroutine getmetatable setmetatable
    rawget rawset rawequal rawlen pcall xpcall collectgarbage print warn python assert
    math.random math.randomseed string.find string.match string.gmatch string.gsub string.rep string.dump
    ('x').rep ('x').find ('x').gsub ('x').dump
"""


@pytest.mark.contract("inputs", "Lua has the library that the docs list.")
@pytest.mark.parametrize("name", THERE.split())
def test_what_the_contract_lists_is_there(name: str) -> None:
    assert run(f"return {name} ~= nil") is True


@pytest.mark.contract("inputs", "Lua has no input or output, no clock, no randomness.")
@pytest.mark.parametrize("name", ABSENT.split())
def test_nothing_else_is_there(name: str) -> None:
    assert run(f"return {name} == nil") is True


def test_inputs_are_local_variables_and_what_is_not_given_is_nil() -> None:
    assert run("return {a + 1, b == nil, #c.d, e}", a=1, c={"d": [1, 2]}, e="x") == [2, True, 2, "x"]


def test_null_is_nil() -> None:
    assert run("return {a == nil, b.c == nil, #d}", a=None, b={"c": None}, d=[1, 2]) == [True, True, 2]


def test_an_expression_alone_is_returned() -> None:
    assert run("string.upper(name)", name="x") == "X"
    assert holds("amount > 100 -- much", amount=101) is True


def test_an_input_may_have_the_name_of_a_library() -> None:
    assert run("return string", string="mine") == "mine"


def test_inputs_whose_names_are_no_lua_names_are_in_the_table_inputs() -> None:
    names = {"my-name": "a", "end": "b", "_ENV": "c", "x": "d"}
    assert run("inputs['my-name'] .. inputs['end'] .. inputs._ENV .. inputs.x .. x", **names) == "abcdd"
    assert run("tostring(type)", **names) == "function"


def test_an_input_called_inputs_wins() -> None:
    assert run("return inputs", inputs="mine") == "mine"


def test_a_table_of_inputs_and_a_variable_are_the_same_table() -> None:
    assert run("return inputs.a == a", a={"x": 1}) is True


def test_more_inputs_than_lua_has_local_variables_are_all_seen() -> None:
    names = {f"v{number}": number for number in range(300)}
    assert run(" + ".join(names), **names) == sum(range(300))


def test_a_script_with_many_variables_of_its_own_still_sees_its_inputs() -> None:
    own = " ".join(f"local own{number} = {number}" for number in range(195))
    names = {f"v{number}": number for number in range(20)}
    assert run(f"{own} return {' + '.join(names)}", **names) == sum(range(20))


def test_deeply_nested_inputs_come_and_go() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert run("return value", value=value) == value


def test_the_same_object_given_twice_is_two_equal_values() -> None:
    shared = {"x": [1]}
    assert run(
        "a.x[1] = 2 return {a.x[1], b.x[1], c[1].x[1], c[2].x[1]}", a=shared, b=shared, c=[shared] * 2
    ) == [
        2,
        1,
        1,
        1,
    ]


# ---------------------------------------------------------------------- results


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("return 3.0", 3),
        ("return 7 // 2.0", 3),
        ("return 2^53", 2**53),
        ("return 0.5", 0.5),
        ("return 1e300", 1e300),
        ("return {}", {}),
        ("return {1, 2.0, {}}", [1, 2, {}]),
        ("return {a = {b = {true, false}}}", {"a": {"b": [True, False]}}),
        ("return nil", None),
        ("return", None),
        ("x = 1", None),
        ("return 'a\\0b\"\\\\\\n\\u{1F600}é'", 'a\0b"\\\n\U0001f600é'),
        ("return {['k\\n\"'] = 'v'}", {'k\n"': "v"}),
        ("return 1, 2", 1),
        ("return math.maxinteger", 2**63 - 1),
        ("return {math.mininteger}", [-(2**63)]),
    ],
)
def test_results_become_plain_json(source: str, expected: Any) -> None:
    result = run(source)
    assert (result, type(result)) == (expected, type(expected))


def test_whole_numbers_inside_tables_are_integers_too() -> None:
    assert [type(item) for item in run("return {1.0, 2^40, 0.5}")] == [int, int, float]


def test_large_integers_stay_exact() -> None:
    assert run("return {n, n + 1}", n=2**62 + 1) == [2**62 + 1, 2**62 + 2]


def test_floats_stay_exact() -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, math.pi]
    assert run("return values", values=values) == values


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("return 0/0", "the result is not a number (NaN)"),
        ("return {a = {1, 1/0}}", "result.a[2] is infinite"),
        ("local t = {} t.t = t return t", "result.t holds itself"),
        ("return {1, 2, a = 3}", "the result mixes names and list items: a table is an object or a list"),
        ("return {x = {1, nil, 3}}", "result.x is a list with holes: its keys must be 1, 2, 3 and so on"),
        ("return {[0] = 1}", "the result has the key 0: a list begins at 1"),
        ("return {[1.5] = 1}", "the result has a key that is a number: keys are text, or 1, 2, 3 and so on"),
        (
            "return {[true] = 1}",
            "the result has a key that is a boolean: keys are text, or 1, 2, 3 and so on",
        ),
        ("return {f = type}", "result.f is a function"),
        ("return function() end", "the result is a function"),
        ("return '\\255'", "the result is text that is not valid UTF-8"),
        ("return {a = '\\xed\\xa0\\x80'}", "result.a is text that is not valid UTF-8"),
        ("return {['\\255'] = 1}", "result.? is text that is not valid UTF-8"),
        ("local t = {} for i = 1, 64 do t = {t} end return t", "the result is nested deeper than 64 levels"),
        (
            "local s = 'x' for i = 1, 20 do s = s .. s end return s .. s",
            "the result is larger than 1048576 bytes",
        ),
        ("local t = {} for i = 1, 40 do t = {t, t} end return t", "the result is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_json_is_refused(source: str, message: str) -> None:
    assert str(failure(source)) == message


def test_64_levels_are_allowed() -> None:
    result = run("local t = {} for i = 1, 63 do t = {t} end return t")
    assert str(result) == "[" * 63 + "{}" + "]" * 63


def test_a_result_of_almost_a_megabyte_is_allowed() -> None:
    assert len(run("local t = {} for i = 1, 100000 do t[i] = 123456789 end return t")) == 100_000


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "an integer of the inputs does not fit into 64 bits"),
        ([2**64], "an integer of the inputs does not fit into 64 bits"),
        ("\ud800", "a text of the inputs holds a lone surrogate"),
        ({"\ud800": 1}, "a text of the inputs holds a lone surrogate"),
        (object(), "a script cannot be given a object (give it plain JSON)"),
        ([b"x"], "a script cannot be given a bytes (give it plain JSON)"),
        (["x" * 1_000] * 30_000, "the script used more than 20 MB of memory"),
        ("x" * 30_000_000, "the script used more than 20 MB of memory"),
        ([0] * 2_000_000, "the script used more than 20 MB of memory"),
    ],
    ids=["2^63", "2^64", "surrogate", "key", "object", "bytes", "texts", "text", "numbers"],
)
def test_inputs_that_cannot_be_given_are_refused(value: Any, message: str) -> None:
    assert str(failure("return type(value)", value=value)) == message


def test_an_input_that_the_script_does_not_name_costs_nothing_and_harms_nothing() -> None:
    assert run("return a", a=1, b="x" * 30_000_000, c=object()) == 1


@pytest.mark.contract("inputs", "A predicate in Lua is false for `false` and `nil` only.")
@pytest.mark.parametrize(
    ("source", "names", "expected"),
    [
        ("return nil", {}, False),
        ("return false", {}, False),
        ("return 0", {}, True),
        ("return ''", {}, True),
        ("return {}", {}, True),
        ("return a", {"a": None}, False),
        ("return a", {"a": []}, True),
        ("x = 1", {}, False),
    ],
)
def test_a_predicate_is_false_for_false_and_nil_only(
    source: str, names: dict[str, Any], expected: bool
) -> None:
    assert holds(source, **names) is expected


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("source", "line", "column", "message"),
    [
        ("return 1 +\n  * 2", 2, 3, "unexpected symbol near '*'"),
        ("local x = = 3", 1, 11, "unexpected symbol near '='"),
        ("amount >> > 3", 1, 11, "unexpected symbol near '>'"),
        ("if x then\n  y = 1", 2, 8, "'end' expected (to close 'if' at line 1)"),
        ("return 1 return 2", 1, 10, "<eof> expected near 'return'"),
        ("-- é é é\nreturn 'é' x", 2, 12, "<eof> expected near 'x'"),
        ("'abc", 1, 5, "unfinished string"),
        ("goto nowhere", 1, 13, "no visible label 'nowhere' for <goto> at line 1"),
        ("\x1bLua", 1, 1, "unexpected symbol near '<\\27>'"),
    ],
)
def test_what_does_not_compile_is_refused_with_line_and_column(
    source: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        LUA.compile(source, Purpose.STEP)
    found = caught.value
    assert (found.line, found.column, str(found)) == (
        line,
        column,
        f"line {line}, column {column}: {message}",
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n\nerror('boom')", "line 3: boom"),
        ("\nlocal x = nil + 1", "line 2: attempt to perform arithmetic on a nil value"),
        (
            "local function f()\n  return a.b.c\nend\nreturn 1 + f()",
            "line 2: attempt to index a nil value (field 'b')",
        ),
        ("error({code = 1})", "line 1: the script raised an error that is not text (table)"),
        ("error()", "line 1: the script raised an error that is not text (nil)"),
        ("error(type)", "line 1: the script raised an error that is not text (function)"),
        ("error(42)", "line 1: 42"),
        ("error('\\255é', 0)", "line 1: ???"),
        ("local t <close> = {}", "line 1: variable 't' got a non-closable value"),
        ("table.concat({{}})", "line 1: invalid value (table) at index 1 in table for 'concat'"),
        ("\nlocal x = table.unpack({}, 1, 1e8)", "line 2: 'unpack' handles at most 100000 values at a time"),
        ("\nmath.floor = nil", "line 2: the library 'math' is read-only"),
        ("local s = '' s.x = 1", "line 1: attempt to index a string value (local 's')"),
        ("local s = pairs(5)", "line 1: bad argument #1 to 'pairs' (table expected, got number)"),
    ],
)
def test_errors_say_what_and_where(source: str, message: str) -> None:
    found = failure(source, a={"x": 1})
    assert str(found).startswith(message)
    assert found.line == int(message.split()[1].strip(":"))


def test_the_text_of_an_error_is_cut() -> None:
    assert len(str(failure("local s = 'x' for i = 1, 20 do s = s .. s end error(s)"))) < 2_100


# ---------------------------------------------------------------------- hostile

LONG = "local s = 'abcdefghij' for i = 1, 19 do s = s .. s end "  # 5 MB
FULL = "local full = {} for i = 1, 30000 do full[i] = {{}, {}, {}, {}, {}, {}, {}} end "
INSTRUCTIONS = "the script used more than 1000000 instructions"
SECONDS = "the script used more than 0.3 s of processor time"
MEMORY = "the script used more than 20 MB of memory"
SPREAD = "handles at most 100000 values at a time"
POWERS = "local t, k = {}, 1 while k > 0 do t[k] = k k = k * 2 end "
HOSTILE: dict[str, tuple[str, str]] = {
    "endless loop": ("while true do end", INSTRUCTIONS),
    "endless goto": ("::again:: goto again", INSTRUCTIONS),
    "endless tail calls": ("local function f() return f() end return f()", INSTRUCTIONS),
    "deep recursion": ("local function f(n) return 1 + f(n + 1) end return f(1)", ""),
    "growing arguments": ("local function f(...) return f(1, ...) end return f()", ""),
    "doubling text": ("local s = 'a' while true do s = s .. s end", MEMORY),
    "doubling tables": ("local t = {} while true do t[#t + 1] = {{}, {}, {}, {}, {}, {}, {}, {}} end", ""),
    "joining long text": (LONG + "while true do local x = s .. 'a' end", SECONDS),
    "comparing long text": (
        LONG + "local a, b = s .. 'a', s .. 'b' while true do local x = a < b end",
        SECONDS,
    ),
    "equal long text": (LONG + "local a, b = s .. 'a', s .. 'a' while true do local x = a == b end", SECONDS),
    "upper": (LONG + "while true do string.upper(s) end", SECONDS),
    "method calls": (LONG + "while true do s:reverse() end", SECONDS),
    "format long text": (LONG + "while true do string.format('%s', s) end", SECONDS),
    "format wide": ("return string.format('%99999d', 1)", "invalid conversion"),
    "long keys": (LONG + "local t = {} while true do t[s .. 'a'] = nil end", SECONDS),
    "concat nothing": (
        "local t = {} for i = 1, 100000 do t[i] = '' end while true do table.concat(t) end",
        SECONDS,
    ),
    "concat with long text": (
        "local t = {} for i = 1, 1000 do t[i] = '' end " + LONG + "return table.concat(t, s)",
        MEMORY,
    ),
    "unpack": ("local t = {} for i = 1, 90000 do t[i] = i end while true do table.unpack(t) end", SECONDS),
    "unpack far": ("local x = table.unpack({}, math.mininteger, math.maxinteger)", SPREAD),
    "move far": ("local x = table.move({}, 1, math.maxinteger - 1, 2)", SPREAD),
    "move": (
        "local t = {} for i = 1, 90000 do t[i] = i end while true do table.move(t, 1, 90000, 2) end",
        SECONDS,
    ),
    "insert in front": (
        "local t = {} for i = 1, 90000 do t[i] = i end while true do table.insert(t, 1, 0) end",
        SECONDS,
    ),
    "bytes": (LONG + "local x = string.byte(s, 1, -1)", "string slice too long"),
    "codepoints": (LONG + "local x = utf8.codepoint(s, 1, -1)", "string slice too long"),
    "count characters": (LONG + "while true do utf8.len(s) end", SECONDS),
    "pack": ("return #string.pack('c1000000000', '')", MEMORY),
    "pack again": ("while true do string.pack('c8000000', '') end", SECONDS),
    "sort long text": (LONG + "local t = {} for i = 1, 20000 do t[i] = s end table.sort(t)", SECONDS),
    "sort by a C function": (
        LONG + "local t = {s, s, s, s, s} while true do table.sort(t, string.upper) end",
        "",
    ),
    "sort without order": (
        "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() return true end)",
        "invalid order function for sorting",
    ),
    "sort within sort": ("local function f() table.sort({1, 2}, f) end f()", "C stack overflow"),
    "emptying a table": (
        "local t = {} for i = 1, 60000 do t['k' .. i] = 1 end while next(t) do t[next(t)] = nil end",
        SECONDS,
    ),
    "almost full": (FULL + "while true do local x = {{}, {}, {}} end", ""),
    "parentheses": ("return " + "(" * 5_000 + "1" + ")" * 5_000, "C stack overflow"),
    "braces": ("return " + "{" * 5_000 + "}" * 5_000, "C stack overflow"),
    "error about memory": ("error('not enough memory', 0)", MEMORY),
}


@pytest.mark.contract("inputs", "A script is ended at its limits of instructions and memory.")
@pytest.mark.parametrize("name", HOSTILE)
def test_no_script_runs_away(name: str) -> None:
    source, message = HOSTILE[name]
    start = time.thread_time()
    found = failure(source)
    assert message in str(found)
    assert time.thread_time() - start < MAX_CPU_S
    assert run("return 1 + 1") == 2


@pytest.mark.parametrize("call", ["insert(t, 1, 0)", "remove(t, 1)", "concat(t)", "sort(t)", "unpack(t)"])
def test_a_list_that_seems_endless_is_no_endless_work(call: str) -> None:
    program = LUA.compile(f"{POWERS} table.{call} return 1", Purpose.STEP)
    start = time.thread_time()
    with suppress(ScriptError):
        program.value({}, {})
    assert time.thread_time() - start < MAX_CPU_S


def test_many_labels_compile_quickly() -> None:
    start = time.thread_time()
    run(" ".join(f"::l{number}:: x=1" for number in range(4_000)))
    run(" ".join(["goto the_end"] * 5_000) + " ::the_end::")
    assert time.thread_time() - start < MAX_CPU_S


def test_source_over_the_limit_is_refused() -> None:
    with pytest.raises(ScriptError) as caught:
        LUA.compile("x = 1 " * 11_000, Purpose.STEP)
    assert str(caught.value) == "the script has 66000 bytes, 65536 are allowed (make it shorter)"


def test_other_threads_that_work_do_not_use_up_the_time_of_a_script() -> None:
    over = threading.Event()
    others = [threading.Thread(target=_busy, args=(over,)) for _ in range(3)]
    for other in others:
        other.start()
    try:
        results = [run("local n = 0 for i = 1, 190000 do n = n + 1 end return n") for _ in range(20)]
    finally:
        over.set()
        for other in others:
            other.join()
    assert results == [190_000] * 20


def _busy(over: threading.Event) -> None:
    while not over.is_set():
        sum(range(1_000))


# -------------------------------------------------------------------- isolation


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("shared = 1", "return shared", None),
        ("_ENV.shared = 1", "return shared", None),
        ("function type() return 'changed' end", "return type(1)", "number"),
        ("tostring = nil", "return tostring(1)", "1"),
        ("_ENV.math = {}", "return math.floor(1.5)", 1),
        ("local a = {} a.x = 1 string = a", "return string.upper('x')", "X"),
    ],
)
def test_nothing_stays_behind_for_the_next_run(first: str, second: str, expected: Any) -> None:
    language = Lua()
    language.compile(first, Purpose.STEP).value({}, {})
    assert language.compile(second, Purpose.STEP).value({}, {}) == expected


def test_a_script_that_counts_starts_anew_each_time() -> None:
    program = Lua().compile("n = (n or 0) + 1 return n", Purpose.STEP)
    assert [program.value({}, {}) for _ in range(3)] == [1, 1, 1]


def test_a_changed_input_is_not_changed_for_its_owner() -> None:
    given = {"list": [1, 2, 3]}
    assert run("given.list[1] = 9 given.new = true return given.list", given=given) == [9, 2, 3]
    assert given == {"list": [1, 2, 3]}


@pytest.mark.parametrize(
    "source",
    [
        "table.insert(math, 1)",
        "table.move({1}, 1, 1, 1, string)",
        "utf8.x = 1",
        "string.upper = string.lower",
    ],
)
def test_libraries_cannot_be_changed(source: str) -> None:
    assert "is read-only" in str(failure(source))
    assert run("return string.upper('x') .. #math") == "X0"


def test_a_runtime_that_ran_out_of_memory_is_thrown_away() -> None:
    language = Lua()
    program = language.compile("local s = 'a' while grow do s = s .. s end return 1", Purpose.STEP)
    program.value({"grow": False}, {})
    used = language.take()
    language.give_back(used)
    with pytest.raises(ScriptError):
        program.value({"grow": True}, {})
    assert language.take() is not used


def test_a_runtime_that_did_well_is_used_again() -> None:
    language = Lua()
    program = language.compile("return 1", Purpose.STEP)
    program.value({}, {})
    used = language.take()
    language.give_back(used)
    program.value({}, {})
    assert language.take() is used


def test_threads_run_at_the_same_time_without_mixing_anything_up() -> None:
    language = Lua()
    program = language.compile(
        "local t = {} for i = 1, n do t[i] = i end local s = 0 for _, v in ipairs(t) do s = s + v end"
        " return {n = n, sum = s, text = text}",
        Purpose.STEP,
    )
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for n in range(seed, 200 + seed):
            result = program.value({"n": n, "text": [f"{seed}"]}, {})
            if result != {"n": n, "sum": n * (n + 1) // 2, "text": [f"{seed}"]}:
                wrong.append(result)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


OTHER_LUA = """
import lupa
with lupa.allow_lua_module_loading():
    from lupa import lua51
"""
OURS = """
from argyll_redis.core.model import Script
from argyll_redis.scripting import Evaluator
assert Evaluator().run(Script("lua", "return {n = 7 // 2, t = {1, a}}"), {"a": [1]}, {})["n"] == 3
"""
AGAIN = "assert lua51.LuaRuntime().eval('1 + 1') == 2"


@pytest.mark.parametrize(
    "program", [OTHER_LUA + OURS + AGAIN, OURS + OTHER_LUA + OURS + AGAIN], ids=["before", "after"]
)
def test_another_lua_in_the_process_does_not_get_in_the_way(program: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


# ------------------------------------------------------------------ determinism


def test_pairs_goes_in_the_order_of_keys() -> None:
    source = """
        local t = {}
        for _, k in ipairs(order) do t[k] = true end
        t[10], t[2], t[1.5], t[true] = 1, 1, 1, 1
        local seen = {}
        for k in pairs(t) do seen[#seen + 1] = tostring(k) end
        return table.concat(seen, ' ')
    """
    keys = [f"k{number:03}" for number in range(200)]
    expected = "1.5 2 10 " + " ".join(keys) + " true"
    assert [Lua().compile(source, Purpose.STEP).value({"order": keys[::-1]}, {}) for _ in range(3)] == [
        expected
    ] * 3


def test_pairs_bears_that_keys_are_removed_on_the_way() -> None:
    source = "local t, n = {a = 1, b = 2, c = 3}, 0 for k in pairs(t) do t.b = nil n = n + 1 end return n"
    assert run(source) == 2


def test_pairs_of_a_list_goes_through_it() -> None:
    assert run("local s = '' for i, v in pairs({'a', 'b', 'c'}) do s = s .. i .. v end return s") == "1a2b3c"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("return tostring({}) .. tostring(type)", "tablefunction"),
        ("return string.format('%s %s %d', {}, type, 3)", "table function 3"),
        ("return ('%5.1f|%-4s|%q|%%p'):format(1, 'a', 'b')", '  1.0|a   |"b"|%p'),
        ("return tostring(nil) .. tostring(1.5) .. tostring(true)", "nil1.5true"),
    ],
)
def test_text_of_values_holds_no_addresses(source: str, expected: str) -> None:
    assert run(source) == expected


@pytest.mark.parametrize("pattern", ["%p", "%20p", "%-20p", "%%%p", "a%%b%p"])
def test_the_format_of_pointers_is_refused(pattern: str) -> None:
    assert "%p is not available" in str(failure(f"return ('{pattern}'):format({{}})"))


# ---------------------------------------------------------------------- library


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("local t = {3, 1, 2} table.sort(t) return t", [1, 2, 3]),
        ("local t = {'b', 'a'} table.sort(t) return t", ["a", "b"]),
        ("local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return t", [3, 2, 1]),
        ("local t = {} table.insert(t, 'a') table.insert(t, 1, 'b') return t", ["b", "a"]),
        ("local t = {1, 2, 3} return {table.remove(t, 1), table.remove(t), t}", [1, 3, [2]]),
        ("return {table.unpack({1, 2, 3}, 2)}", [2, 3]),
        ("return {table.unpack({1, 2, 3}, 1, 2)}", [1, 2]),
        ("return table.move({1, 2, 3}, 1, 2, 2)", [1, 1, 2]),
        ("return table.move({1, 2}, 1, 2, 1, {})", [1, 2]),
        ("return table.pack(1, nil, 3).n", 3),
        ("return {select('#', 1, nil), select(2, 'a', 'b')}", [2, "b"]),
        ("return {math.floor(1.5), math.max(1, 2), math.type(1), math.tointeger(2.0)}", [1, 2, "integer", 2]),
        ("return {utf8.len('é'), utf8.char(233), #'é'}", [1, "é", 2]),
        ("return {tonumber('ff', 16), tonumber('x') == nil}", [255, True]),
        ("return {next({}) == nil, type(next)}", [True, "function"]),
    ],
)
def test_the_library_works_as_in_the_manual(source: str, expected: Any) -> None:
    assert run(source) == expected


def test_ten_thousand_numbers_can_be_sorted() -> None:
    assert run("table.sort(list) return {list[1], list[10000]}", list=list(range(10_000, 0, -1))) == [
        1,
        10_000,
    ]


def test_a_few_thousand_objects_can_be_sorted() -> None:
    objects = [{"n": number * 7919 % 4001} for number in range(4_000)]
    source = "table.sort(list, function(a, b) return a.n < b.n end) return list[1].n"
    assert run(source, list=objects) == min(each["n"] for each in objects)


@pytest.mark.parametrize(
    "source", ["return '\\xff\\x", "return '\\xff\\xfe''\\xff\\xfe'", "retur~ '\\x\ufffdffxfe'"]
)
def test_a_mistake_beside_bytes_that_are_no_text_is_told_with_its_place(source: str) -> None:
    """Lua names the place by bytes of its own."""
    assert failure(source).line == 1
