"""Journals: what lines of them may look like, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audit_stage import DONE, OPEN, Stage

from argyll_redis.audit import Journals, journals
from argyll_redis.audit.journals import Answer
from argyll_redis.core.audit_calls import Call
from argyll_redis.errors import InvalidInput
from argyll_redis.store.codec import encode

pytestmark = pytest.mark.anyio

CALL = {"flow": "f", "step": "s", "token": "t", "attempt": 1}
START = {"do": "start", "flow": "f", "answer": "ok"}


async def read(directory: Path, kind: str, *lines: bytes) -> Journals:
    """Journals of one file of lines."""
    path = directory / "journal.jsonl"
    path.write_bytes(b"\n".join(lines))
    given: dict[str, Any] = {kind: [path]}
    found = Journals(**given)
    await found.read()
    return found


async def test_calls_are_kept_by_flow_with_all_that_is_known(tmp_path: Path) -> None:
    """What was answered and when are optional, and more is passed over."""
    more = {**CALL, "attempt": 2, "outputs": {"x": [1]}, "at": 7, "host": "a"}
    other = {**CALL, "flow": "g"}
    found = await read(tmp_path, "calls", encode(CALL), encode(more), encode(other))
    assert found.calls("f") == [Call("t", 1), Call("t", 2, {"x": [1]}, 7)]
    assert (found.calls("h"), found.steps, list(found.flows())) == ([], {"s"}, ["f", "g"])
    found.close()


async def test_answers_are_kept_in_their_order(tmp_path: Path) -> None:
    """Of each kind what belongs to it is kept."""
    lines: list[dict[str, Any]] = [
        START,
        {"do": "webhook", "flow": "f", "token": "t", "answer": "unknown"},
        {"do": "feed", "client": "c", "flow": "f", "version": 2},
        {"do": "knew", "engine": "e", "flow": "f", "version": 3, "tx": "x"},
        {"do": "alarm", "engine": "e", "flow": "f"},
    ]
    found = await read(tmp_path, "answers", *map(encode, lines))
    assert found.answers("f") == [
        Answer("start", "", "ok", "", 0, ""),
        Answer("webhook", "", "unknown", "t", 0, ""),
        Answer("feed", "c", "", "", 2, ""),
        Answer("knew", "e", "", "", 3, "x"),
        Answer("alarm", "e", "", "", 0, ""),
    ]
    assert found.kinds == {"start", "webhook", "feed", "knew", "alarm"}
    found.close()


async def test_blank_lines_and_a_half_line_at_the_end_are_passed_over(tmp_path: Path) -> None:
    """A writer may have died while it wrote."""
    found = await read(tmp_path, "calls", b"", encode(CALL), b"  ", b'{"flow": "g", "st')
    assert list(found.flows()) == ["f"]
    found.close()


WRONG: dict[str, tuple[str, bytes, str]] = {
    "no JSON": ("calls", b"{", "line 1: is no JSON"),
    "no object": ("calls", b"[]", "line 1: is no object"),
    "no token": ("calls", encode({**CALL, "token": 7}), "line 1: has no `token`, a text"),
    "no attempt": ("calls", encode({**CALL, "attempt": -1}), "line 1: has no `attempt`, a whole number"),
    "a bool": ("calls", encode({**CALL, "attempt": True}), "line 1: has no `attempt`, a whole number"),
    "no outputs": ("calls", encode({**CALL, "outputs": 1}), "line 1: has `outputs` that are no object"),
    "no time": ("calls", encode({**CALL, "at": "now"}), "line 1: has no `at`, a whole number"),
    "no flow": ("answers", encode({**START, "flow": ""}), "line 1: has no `flow`, a text"),
    "no answer": ("answers", encode({**START, "answer": "yes"}), 'line 1: has the answer "yes"'),
    "nothing done": ("answers", encode({**START, "do": "begin"}), 'line 1: does "begin", which nobody knows'),
    "no client": ("answers", encode({"do": "read", "flow": "f"}), "line 1: has no `client`, a text"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_line_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path, wrong: str) -> None:
    """File and line are named."""
    kind, line, said = WRONG[wrong]
    with pytest.raises(InvalidInput, match=r"journal\.jsonl: line 1: ") as refused:
        await read(tmp_path, kind, line, b"")
    assert said in str(refused.value)


async def test_a_line_that_never_ends_is_refused(tmp_path: Path) -> None:
    """It is not read whole."""
    with pytest.raises(InvalidInput, match="more than 1,048,576 bytes"):
        await read(tmp_path, "calls", b" " * (1024 * 1024 + 1))


async def test_more_lines_than_there_may_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is named."""
    monkeypatch.setattr(journals, "MAX_LINES", 2)
    with pytest.raises(InvalidInput, match="more than 2 lines"):
        await read(tmp_path, "calls", *[encode(CALL)] * 3, b"")


async def test_a_journal_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    found = Journals(calls=[tmp_path / "none.jsonl"])
    with pytest.raises(InvalidInput, match=r"none.jsonl: cannot be read"):
        await found.read()
    found.close()


# ------------------------------------------------------------------ what is fine


async def test_what_may_be_is_no_violation(stage: Stage, tmp_path: Path) -> None:
    """What was not answered may have been done or not; others may have started what was refused."""
    token = await stage.token(DONE, "lookup")
    open_token = await stage.token(OPEN, "lookup")
    stage.journal(
        "answers",
        tmp_path,
        {"do": "start", "flow": "ghost", "answer": "unknown"},
        {"do": "start", "flow": "other-ghost", "answer": "refused"},
        {"do": "start", "flow": OPEN, "answer": "refused"},
        {"do": "start", "flow": OPEN, "answer": "unknown"},
        {"do": "cancel", "flow": OPEN, "answer": "unknown"},
        {"do": "webhook", "flow": OPEN, "token": open_token, "answer": "unknown"},
        {"do": "webhook", "flow": DONE, "token": token, "answer": "ok"},
        {"do": "complete", "flow": DONE, "token": token, "answer": "ok"},
        {"do": "cancel", "flow": DONE, "answer": "ok"},
        {"do": "read", "client": "a", "flow": DONE, "version": 9},
        {"do": "read", "client": "b", "flow": DONE, "version": 3},
        {"do": "feed", "client": "a", "flow": DONE, "version": 5},
        {"do": "feed", "client": "a", "flow": DONE, "version": 6},
        {"do": "knew", "engine": "e", "flow": DONE, "version": 4, "tx": "lost"},
        {"do": "alarm", "engine": "e", "flow": DONE},
        {"do": "knew", "engine": "f", "flow": DONE, "version": 1, "tx": stage.log(DONE).events[0].tx},
    )
    assert (await stage.audit()).violations == []


async def test_one_journal_serves_two_audits(stage: Stage, tmp_path: Path) -> None:
    """It is read once."""
    stage.journal("calls", tmp_path, CALL)
    assert [len((await stage.audit()).violations) for _ in range(2)] == [1, 1]
