"""Every command against names, values and files that do not do: one line, the right status, nothing half
done. Servers and streams that do not do are in `test_cli_bad_places.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_words import DOUBLE, STEPS, Cli, refused

from argyll_redis.cli import options

# ----------------------------------------------------------------------- files

MORE = "(send one JSON document)"
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", f": is empty {MORE}"),
    "blanks": (b" \r\n\t", f": is empty {MORE}"),
    "BOM": (b'\xef\xbb\xbf{"id": "s"}', ": begins with a byte order mark (save it as UTF-8 without one)"),
    "UTF-16": ('{"id": "s"}'.encode("utf-16"), ": byte 0: not valid UTF-8 (send JSON as UTF-8)"),
    "Latin-1": ('{"id": "é"}'.encode("latin-1"), ": byte 8: not valid UTF-8 (send JSON as UTF-8)"),
    "binary": (b"\x7fELF\x02\x01\0\xff", ": byte 7: not valid UTF-8 (send JSON as UTF-8)"),
    "zeros": (b"\0" * 100, f": line 1, column 1: not JSON: expecting value {MORE}"),
    "half": (b'[{"id": "s"', f": line 1, column 12: not JSON: expecting ',' delimiter {MORE}"),
    "half a text": (b'{"id": "s', f": line 1, column 8: not JSON: unterminated string {MORE}"),
    "control character": (
        b'{"id": "s\x01"}',
        f": line 1, column 10: not JSON: invalid control character {MORE}",
    ),
    "two": (b"{}\n{}", f": line 2, column 1: not JSON: extra data {MORE}"),
    "YAML": (b"id: s\n", f": line 1, column 1: not JSON: expecting value {MORE}"),
    "deep": (
        b"[" * 70 + b"]" * 70,
        ": " + "[0]" * 64 + ": nested more than 64 levels deep (make it flatter)",
    ),
    "very deep": (b'{"a":' * 100_000, ": nested more than 64 levels deep (make it flatter)"),
    "key twice": (b'{"id": 1, "id": 2}', ": the key `id` occurs twice in one object (leave one of them out)"),
    "NaN": (b'{"id": NaN}', ": id: nan is not a JSON number (leave it out, or send null or text)"),
    "infinity": (b'{"id": 1e999}', ": id: inf is not a JSON number (leave it out, or send null or text)"),
    "2^64": (b'{"id": 18446744073709551616}', ": id: a whole number beyond 64 bit (send it as text)"),
    "lone surrogate": (
        b'{"id": "\\ud800"}',
        ": id: text with a lone surrogate at character 0 (send valid Unicode)",
    ),
    "surrogate in a key": (
        b'{"\\ud800": 1}',
        ": \\ud800: text with a lone surrogate at character 0 (send valid Unicode)",
    ),
}
"""What is in a file, and what is said of it after its name."""

TAKERS = {
    "register": ("step", "register", "FILE"),
    "update": ("step", "update", "FILE"),
    "start": ("flow", "start", "double", "--id", "f", "--init-file", "FILE"),
    "plan": ("plan", "double", "--init-file", "FILE"),
}
"""Commands that read a file of one document."""


def at(file: object, command: tuple[str, ...]) -> list[str]:
    return [str(file) if word == "FILE" else word for word in command]


def state_of(cli: Cli) -> list[Any]:
    """All that bad input must leave alone."""
    return [cli("step", "list", "--json").json, cli("flow", "list", "--json").json]


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """Steps, and a flow that waits for an engine."""
    cli.register()
    assert cli("flow", "start", "double", "--init", "a=1", "--id", "order").status == 0
    return cli


@pytest.mark.parametrize("what", DOCUMENTS)
@pytest.mark.parametrize("taker", TAKERS)
def test_a_file_that_holds_no_fit_document_is_refused_by_name(
    taker: str, what: str, shop: Cli, tmp_path: Path
) -> None:
    data, words = DOCUMENTS[what]
    file = tmp_path / "given.json"
    file.write_bytes(data)
    before = state_of(shop)
    assert refused(shop(*at(file, TAKERS[taker])), 2) == f"{file}{words}"
    assert refused(shop(*at("-", TAKERS[taker]), stdin=data), 2) == f"standard input{words}"
    assert state_of(shop) == before


@pytest.mark.parametrize("what", [each for each in DOCUMENTS if each not in ("nothing", "blanks", "deep")])
def test_an_import_that_is_no_json_is_refused_by_name(what: str, shop: Cli, tmp_path: Path) -> None:
    file = tmp_path / "given.jsonl"
    file.write_bytes(DOCUMENTS[what][0])
    before = state_of(shop)
    assert refused(shop("flow", "import", str(file)), 2).startswith(f"{file}: line 1")
    assert state_of(shop) == before


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]", b"1", b'"text"', b"{}", b'{"id": "double"}'])
def test_an_import_that_is_no_export_is_refused_by_name(data: bytes, shop: Cli, tmp_path: Path) -> None:
    file = tmp_path / "given.jsonl"
    file.write_bytes(data)
    said = refused(shop("flow", "import", str(file)), 2)
    assert (said.startswith(f"{file}: "), said.endswith("(import what was exported, as it is)")) == (
        True,
        True,
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], ": holds no step (give a step or a list of steps)"),
        (1, ": is not a step, which is an object (give a step or a list of steps)"),
        (None, ": is not a step, which is an object (give a step or a list of steps)"),
        ([DOUBLE, "double"], ": [1]: is not a step, which is an object (give a step or a list of steps)"),
        ([[DOUBLE]], ": [0]: is not a step, which is an object (give a step or a list of steps)"),
    ],
)
def test_what_is_no_step_is_refused_with_its_place(
    document: Any, words: str, shop: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "steps.json"
    file.write_text(json.dumps(document))
    for taker in ("register", "update"):
        assert refused(shop(*at(file, TAKERS[taker])), 2) == f"{file}{words}"


@pytest.mark.parametrize("document", [[], 1, "text", None, STEPS])
def test_initial_values_that_are_no_object_are_refused(document: Any, shop: Cli, tmp_path: Path) -> None:
    file = tmp_path / "init.json"
    file.write_text(json.dumps(document))
    for taker in ("start", "plan"):
        assert (
            refused(shop(*at(file, TAKERS[taker])), 2)
            == f"{file}: is not an object (use {{name: value, ...}})"
        )


@pytest.mark.parametrize("taker", [*TAKERS.values(), ("flow", "import", "FILE")])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("missing.json", "missing.json: cannot be read: no such file or directory (name a file of JSON)"),
        (".", ".: cannot be read: is a directory (name a file of JSON)"),
        ("", '"": cannot be read: no such file or directory (name a file of JSON)'),
        ("a\0b", "a\\x00b: cannot be read: embedded null byte (name a file of JSON)"),
        ("\x1b[2J\n", "\\x1b[2J\\n: cannot be read: no such file or directory (name a file of JSON)"),
        ("x" * 300, "x" * 300 + ": cannot be read: file name too long (name a file of JSON)"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_by_name(
    file: str, words: str, taker: tuple[str, ...], cli: Cli
) -> None:
    assert refused(cli(*at(file, taker)), 2) == words


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and cannot be read")
@pytest.mark.parametrize("taker", [*TAKERS.values(), ("flow", "import", "FILE")])
def test_a_file_that_breaks_off_while_it_is_read_is_refused_by_name(taker: tuple[str, ...], cli: Cli) -> None:
    said = refused(cli(*at("/proc/self/mem", taker)), 2)
    assert said == "/proc/self/mem: cannot be read: input/output error (name a file of JSON)"


@pytest.mark.parametrize("taker", TAKERS.values())
def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(
    taker: tuple[str, ...], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "MAX_FILE_BYTES", 1_000)
    file = tmp_path / "large.json"
    file.write_bytes(b"x" * 1_001)
    assert refused(cli(*at(file, taker)), 2) == f"{file}: more than 1,000 bytes (split it)"


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a", '--init: "a" has no value (use name=value)'),
        ("=1", '--init: "=1" has no name (use name=value)'),
        ("a=NaN", "init.a: nan is not a JSON number (leave it out, or send null or text)"),
        ("a=-Infinity", "init.a: -inf is not a JSON number (leave it out, or send null or text)"),
        ("a=99999999999999999999", "init.a: a whole number beyond 64 bit (send it as text)"),
        ("a=[1, 1e999]", "init.a[1]: inf is not a JSON number (leave it out, or send null or text)"),
        ('a={"x": {"y": NaN}}', "init.a.x.y: nan is not a JSON number (leave it out, or send null or text)"),
        ('a={"x": 1, "x": 2}', "init.a: the key `x` occurs twice in one object (leave one of them out)"),
        ('a="\\ud800"', "init.a: text with a lone surrogate at character 0 (send valid Unicode)"),
        ("a=\udcff", "init.a: text with a lone surrogate at character 0 (send valid Unicode)"),
        ("\x1b[2J=1", "init: `\\x1b[2J` is not a name (use 1 to 256 plain characters)"),
        ("\udcff=1", "init: `\\udcff` is not a name (use 1 to 256 plain characters)"),
    ],
)
def test_an_initial_value_that_is_none_is_refused_with_its_place(value: str, words: str, shop: Cli) -> None:
    assert refused(shop("plan", "double", "--init", value), 2) == words
    assert refused(shop("flow", "start", "double", "--init", value), 2) == words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--id", ""], "id: has no character that a flow id may have (use a-z 0-9 _ . - +, or leave it out)"),
        (["--id", "x" * 257], "id: is 257 characters long (use at most 256)"),
        (["--label", "x"], '--label: "x" has no value (use name=value)'),
        (["--label", "a=1", "--label", "a=1"], '--label: "a" is given twice (give it once)'),
        (["--label", "a=\x1b"], "labels.a: is not a label value (use text of at most 256 plain characters)"),
        (
            ["--metadata", "a=NaN"],
            "metadata.a: nan is not a JSON number (leave it out, or send null or text)",
        ),
        (["--timeout-ms", "-1"], "timeout_ms: is -1 (use a whole number of ms, 1 to 315360000000)"),
    ],
)
def test_an_option_of_a_start_that_is_none_is_refused(given: list[str], words: str, shop: Cli) -> None:
    before = state_of(shop)
    assert refused(shop("flow", "start", "double", "--init", "a=1", *given), 2) == words
    assert state_of(shop) == before


@pytest.mark.parametrize(
    "command", [("flow", "show", "f", "--at"), ("flow", "start", "s", "--id"), ("plan", "--init")]
)
def test_an_option_without_its_value_is_said_of_its_command(command: tuple[str, ...], cli: Cli) -> None:
    path = " ".join(word for word in command[:2] if not word.startswith("-"))
    assert (
        refused(cli(*command), 2) == f"option '{command[-1]}' requires an argument (see argyll {path} --help)"
    )


def test_an_option_with_a_value_too_many_is_said_of_its_command(cli: Cli) -> None:
    said = refused(cli("flow", "list", "--json=yes"), 2)
    assert said == "option '--json' does not take a value (see argyll flow list --help)"


# ----------------------------------------------------------------------- names

OF_A_FLOW = [
    ("show", "FLOW"),
    ("show", "FLOW", "--at", "1"),
    ("events", "FLOW"),
    ("events", "FLOW", "--follow"),
    ("watch", "FLOW"),
    ("wait", "FLOW"),
    ("cancel", "FLOW"),
    ("restart", "FLOW"),
    ("export", "FLOW"),
    ("why", "FLOW", "double"),
    ("complete", "FLOW", "double"),
    ("fail", "FLOW", "double"),
]
NAMES = {
    "nope": "nope",
    "": "",
    "Order": "Order",
    "é 😀": "é 😀",
    "\x1b[2J\nerror: x": "\\x1b[2J\\nerror: x",
    "\u202egnp": "\\u202egnp",
    "\udcff": "\\udcff",
    "order:double:0": "order:double:0",
    "*": "*",
    "x" * 5_000: "x" * 5_000,
}
"""Of nothing, and as they are printed."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", OF_A_FLOW, ids=" ".join)
def test_a_flow_that_is_not_there_is_named_harmlessly(command: tuple[str, ...], name: str, shop: Cli) -> None:
    arguments = ["flow", *(name if word == "FLOW" else word for word in command)]
    for extra in ([], ["--json"]):
        assert refused(shop(*arguments, *extra), 4) == f'no flow "{NAMES[name]}" exists'


@pytest.mark.parametrize("name", NAMES)
def test_an_audit_of_a_flow_that_is_not_there_is_refused(name: str, shop: Cli) -> None:
    assert refused(shop("audit", name), 4) == f'no flow "{NAMES[name]}" exists'


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "command",
    [
        ("step", "show", "NAME"),
        ("step", "delete", "NAME"),
        ("flow", "why", "order", "NAME"),
        ("flow", "complete", "order", "NAME"),
        ("flow", "fail", "order", "NAME"),
        ("flow", "complete", "order", "double", "--token", "NAME"),
        ("flow", "fail", "order", "double", "--token", "NAME"),
    ],
    ids=" ".join,
)
def test_a_step_or_a_token_that_is_not_there_is_not_found(
    command: tuple[str, ...], name: str, shop: Cli
) -> None:
    before = state_of(shop)
    arguments = [name if word == "NAME" else word for word in command]
    for extra in ([], ["--json"]):
        refused(shop(*arguments, *extra), 4)
    assert state_of(shop) == before


@pytest.mark.parametrize("version", ["0", "-1", "99999999999999999999"])
def test_a_version_that_a_flow_has_not_is_refused(version: str, shop: Cli) -> None:
    said = refused(shop("flow", "show", "order", "--at", version), 2)
    assert version in said
