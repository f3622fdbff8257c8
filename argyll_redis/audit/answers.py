"""I-21, I-26, I-27 and I-30: whether what clients and engines were told is in the logs.

An answer that never came says nothing: what was asked may have been done or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argyll_redis.audit.journals import COMPLETIONS, Answer
from argyll_redis.core.audit import Violation
from argyll_redis.core.events import Recorded
from argyll_redis.core.model import Token
from argyll_redis.core.state import WORK_OVER, Flow

INVARIANTS_BY_DO = {"read": "I-27", "feed": "I-26", "knew": "I-30"}
"""What is broken when a flow is not there, or not at a version any more, that somebody was told of."""


def judge_answers(flow: Flow, events: Sequence[Recorded], answers: Sequence[Answer]) -> Iterator[Violation]:
    """Holds what was said of a flow against its log, which was read afterwards."""
    yield from _check_start(answers)
    yield from _check_completions(flow, answers)
    if _is_done(answers, "cancel") and not flow.is_over:
        yield Violation("I-21", flow.version, "a cancel was answered as done, and the flow is not over")
    yield from _check_seen(flow, answers)
    yield from _check_known(flow, events, answers)


def judge_absent(answers: Sequence[Answer]) -> Iterator[Violation]:
    """Holds what was said of a flow that is not there against that."""
    if _is_done(answers, "start"):
        yield Violation("I-21", 0, "a start was answered as done, and there is no such flow")
    elif any(each.answer == "ok" for each in answers):
        yield Violation("I-21", 0, "something of it was answered as done, and there is no such flow")
    unsaid = [each for each in answers if each.do != "knew" or each.who not in _alarmed(answers)]
    for do, invariant in INVARIANTS_BY_DO.items():
        version = max((each.version for each in unsaid if each.do == do), default=0)
        if version:
            who = "an engine knew" if do == "knew" else "a client saw"
            yield Violation(invariant, 0, f"{who} its version {version}, and there is no such flow")


def _alarmed(answers: Sequence[Answer]) -> set[str]:
    """The engines that have said that they leave the flow alone."""
    return {each.who for each in answers if each.do == "alarm"}


def _is_done(answers: Sequence[Answer], do: str) -> bool:
    return any(each.do == do and each.answer == "ok" for each in answers)


def _check_start(answers: Sequence[Answer]) -> Iterator[Violation]:
    """A flow that is there was asked for: by a start that was not refused, where starts are journalled."""
    starts = [each.answer for each in answers if each.do == "start"]
    if starts and all(answer == "refused" for answer in starts):
        yield Violation("I-21", 1, "every start of the flow was refused, and it is there")


def _check_completions(flow: Flow, answers: Sequence[Answer]) -> Iterator[Violation]:
    """A completion that was answered as done has left its mark: an outcome, a retry or something ignored."""
    tokens = {each.token: each.do for each in answers if each.do in COMPLETIONS and each.answer == "ok"}
    for token, do in tokens.items():
        found = flow.find(Token(token))
        item = flow.item(*found) if found else None
        if item is None:
            yield Violation("I-21", 0, f"a {do} of {token} was answered as done, and nothing happened to it")
        elif not (item.status in WORK_OVER or item.ignored or item.retries or flow.is_deactivated):
            what = f"a {do} of {token} was answered as done, and its work item is {item.status}"
            yield Violation("I-21", flow.version, what)


def _check_seen(flow: Flow, answers: Sequence[Answer]) -> Iterator[Violation]:
    """Who follows gets each event once and in order; who reads never falls back."""
    last: dict[tuple[str, str], int] = {}
    for do, who, _, _, version, _ in answers:
        if do not in ("read", "feed"):
            continue
        before = last.get((do, who))
        last[do, who] = version
        if version > flow.version:
            what = f'client "{who}" saw version {version}, and the log ends at {flow.version}'
            yield Violation(INVARIANTS_BY_DO[do], flow.version, what)
        elif before is None:
            continue
        elif do == "feed" and version != before + 1:
            yield Violation("I-26", version, f'client "{who}" got event {version} after event {before}')
        elif do == "read" and version < before:
            yield Violation("I-27", version, f'client "{who}" read version {version} after version {before}')


def _check_known(flow: Flow, events: Sequence[Recorded], answers: Sequence[Answer]) -> Iterator[Violation]:
    """What an engine knew of a flow is in its log, unless it has raised an alarm."""
    alarmed = _alarmed(answers)
    for each in answers:
        if each.do != "knew" or each.who in alarmed or not each.version:
            continue
        if each.version > len(events):
            what = f'engine "{each.who}" knew version {each.version}, and the log ends at {flow.version}'
            yield Violation("I-30", flow.version, what)
        elif events[each.version - 1].tx != each.tx:
            tx = events[each.version - 1].tx
            what = f'engine "{each.who}" knew version {each.version} by transaction {each.tx}, it is of {tx}'
            yield Violation("I-30", each.version, what)
