"""What holds for every flow, whatever its steps and its fate (see `random_flows.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from given import ENGINE, START_MS, TIMER, World, each, entry_of, is_undo, report_of, script, step
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_flows import STEPS, live, random_world, retell

from argyll_redis.core.audit import audit_log
from argyll_redis.core.commands import (
    Abandon,
    Command,
    Look,
    Lose,
    LoseUndo,
    Report,
    ReportUndo,
    Unfinished,
)
from argyll_redis.core.decide import Decision, decide, evolve
from argyll_redis.core.outbox import outstanding
from argyll_redis.core.state import Flow, WorkStatus
from argyll_redis.core.turn import MAX_ITEMS_A_TURN

SEEDS = st.integers(0, 2**32)
quick = settings(max_examples=75, deadline=None)


def told(decision: Decision) -> list[tuple[Any, ...]]:
    """What was decided, for comparing."""
    return [(each.event.type, each.event.data(), each.cause, each.by) for each in decision.events]


def copy_of(world: World) -> Flow:
    """The same state in another process."""
    return world.refold()


# ---------------------------------------------------------------------- folding


@given(seed=SEEDS)
@quick
def test_the_fold_of_decided_events_is_the_state_left_behind(seed: int) -> None:
    def visit(world: World, commands: Sequence[Command]) -> None:
        assert world.refold().picture() == world.flow.picture()

    visit(live(seed, visit), [])


@given(seed=SEEDS, cuts=st.lists(st.integers(1, 60), max_size=4))
@quick
def test_a_log_read_in_pages_that_split_transactions_gives_the_same_state(seed: int, cuts: list[int]) -> None:
    world = live(seed)
    flow, read = Flow("f1"), 0
    for cut in (*sorted(cuts), len(world.log)):
        evolve(flow, world.log[read:cut])
        read = max(read, min(cut, len(world.log)))
    assert flow.picture() == world.flow.picture()


# --------------------------------------------------------------------- refusals


@given(seed=SEEDS)
@quick
def test_a_refused_turn_leaves_the_state_as_it_was(seed: int) -> None:
    def visit(world: World, commands: Sequence[Command]) -> None:
        before = world.flow.picture()
        world.decide(*commands)
        assert world.flow.picture() == before

    world = live(seed, visit)
    fresh = Flow("f1")
    before = fresh.picture()
    decide(fresh, [world.start], now_ms=world.now_ms, evaluate=world.scripts)
    assert fresh.picture() == before


@given(seed=SEEDS)
@quick
def test_deciding_again_decides_the_same(seed: int) -> None:
    def visit(world: World, commands: Sequence[Command]) -> None:
        assert told(world.decide(*commands)) == told(world.decide(*commands))

    live(seed, visit)


# ------------------------------------------------------------------- repetition


@given(seed=SEEDS)
@quick
def test_a_command_given_twice_changes_nothing_the_second_time(seed: int) -> None:
    """Beyond one `work_ignored`; and the third time nothing at all."""

    def visit(world: World, commands: Sequence[Command]) -> None:
        for command in commands:
            if _speaks_for_the_next_attempt(command):
                continue
            flow = copy_of(world)
            first = _commit(world, flow, command)
            second = _commit(world, flow, command)
            assert [event[0] for event in second] in ([], ["work_ignored"]), (first, second)
            assert _commit(world, flow, command) == []

    live(seed, visit)


def _speaks_for_the_next_attempt(command: Command) -> bool:
    """Whether a repeat may mean another attempt than the first time."""
    if not isinstance(command, Report):
        return False
    return command.attempt is None and isinstance(command.outcome, Unfinished)


def _commit(world: World, flow: Flow, command: Command) -> list[tuple[Any, ...]]:
    decision = decide(flow, [command], now_ms=world.now_ms, evaluate=world.scripts)
    decision.keep(at=world.now_ms, tx=f"t{flow.version + 1}")
    return told(decision)


# ------------------------------------------------------------------- references


@given(seed=SEEDS)
@quick
def test_what_is_outstanding_is_the_outbox_minus_what_was_consumed(seed: int) -> None:
    def visit(world: World, commands: Sequence[Command]) -> None:
        ought = outstanding(world.flow, world.now_ms)
        assert ought.due == {member: at for member, at in world.due.items() if at > world.now_ms}
        pending = {(queue, payload) for payload, queue in world.work.items()}
        in_hand = {(queue, payload) for queue, payload in ought.work if _is_in_hand(payload, commands)}
        assert ought.work <= pending | in_hand
        assert all(_is_stale(world, payload) for _, payload in pending - ought.work)

    world = live(seed, visit)
    visit(world, [])


def _is_in_hand(payload: str, commands: Sequence[Command]) -> bool:
    """Whether an entry is about to be answered by one of the commands."""
    return any(
        isinstance(command, (ReportUndo | LoseUndo) if is_undo(payload) else (Report | Lose | Abandon))
        and entry_of(payload)[:2] == (command.token, command.attempt)
        and command.by == ENGINE
        for command in commands
    )


def _is_stale(world: World, payload: str) -> bool:
    """Whether an entry is one of an attempt that is settled, so that it will only be acknowledged."""
    token, attempt, _ = entry_of(payload)
    found = world.flow.find(token)
    assert found is not None
    item = world.flow.item(*found)
    if is_undo(payload):
        assert item is not None
        assert item.undo is not None
        return item.undo.attempt != attempt or item.undo.is_waiting or item.undo.ended_version > 0
    return item is None or item.status is not WorkStatus.ACTIVE or item.attempt != attempt


@given(seed=SEEDS)
@quick
def test_a_look_at_a_settled_flow_decides_nothing(seed: int) -> None:
    """Settled: no control entry waits, and no due entry is due."""

    def visit(world: World, commands: Sequence[Command]) -> None:
        if not world.control and all(at > world.now_ms for at in world.due.values()):
            assert told(world.decide(Look(TIMER))) == []

    live(seed, visit)


@given(seed=SEEDS)
@quick
def test_a_look_restores_what_lost_due_entries_would_have_brought(seed: int) -> None:
    """Everything but the log can be lost: when due entries are gone, looks do what they would have."""
    world = random_world(Random(seed))
    while not world.flow.is_deactivated:
        world.due.clear()
        world.now_ms += 1_000
        world.look()
        world.look_on()
        for payload in sorted(world.work):
            del world.work[payload]
            world.say(report_of(payload, Unfinished("not yet", 500)))
        if world.now_ms > START_MS + 30_000:
            world.cancel()
    assert world.refold().picture() == world.flow.picture()


# -------------------------------------------------------------------------- ends


@given(seed=SEEDS)
@quick
def test_every_flow_ends_and_is_deactivated_when_its_work_is_delivered(seed: int) -> None:
    world = live(seed)
    assert world.log[-1].event.type == "flow_deactivated"
    assert [recorded.event.type for recorded in world.log].count("flow_deactivated") == 1
    assert (world.flow.active, world.flow.waiting, world.flow.lingering, world.flow.undos) == (0, 0, (), ())


@given(seed=SEEDS)
@quick
def test_the_auditor_finds_nothing_in_what_the_rules_decided(seed: int) -> None:
    world = live(seed)
    found = audit_log(
        "f1",
        world.log,
        head_version=world.flow.version,
        head_tx=world.flow.last_tx,
        status=str(world.flow.status),
        sealed=True,
    )
    assert found == []


# ------------------------------------------------------------------------- names


@given(seed=SEEDS, order=st.permutations(range(STEPS)))
@quick
def test_the_names_of_steps_never_decide_what_runs(seed: int, order: list[int]) -> None:
    same_order = retell(seed, lambda id: f"x{id}")
    assert retell(seed, lambda id: id) == same_order
    assert retell(seed, lambda id: f"y{order[int(id[1:])]}") == same_order


# ------------------------------------------------------------------ group commit


@given(seed=SEEDS)
@quick
def test_deciding_commands_together_is_deciding_them_one_after_another(seed: int) -> None:
    def visit(world: World, commands: Sequence[Command]) -> None:
        together = told(world.decide(*commands))
        flow, one_by_one = copy_of(world), list[tuple[Any, ...]]()
        for command in commands:
            one_by_one += _commit(world, flow, command)
        assert together == one_by_one

    live(seed, visit)


# ----------------------------------------------------------------- bounded turns


@given(
    counts=st.lists(st.integers(0, 180), min_size=1, max_size=4),
    parallelism=st.sampled_from([1, 7, 120, 1_000]),
    predicate=st.sampled_from([None, "True", "odd(names)"]),
)
@settings(max_examples=40, deadline=None)
@example(counts=[100, 1], parallelism=1_000, predicate=None)
def test_no_turn_starts_more_than_it_may_and_looks_finish_the_rest(
    counts: list[int], parallelism: int, predicate: str | None
) -> None:
    more: dict[str, Any] = {"predicate": script(predicate)} if predicate else {}
    steps = [
        step(
            f"s{i}",
            "",
            f"y{i}",
            attributes={f"xs{i}": each()},
            work_config={"parallelism": parallelism},
            **more,
        )
        for i in range(len(counts))
    ]
    init: dict[str, Any] = {f"xs{i}": list(range(count)) for i, count in enumerate(counts)}
    world = World(*steps, goals=" ".join(f"s{i}" for i in range(len(counts))), **init)
    world.look_on()
    for tx in {recorded.tx for recorded in world.log}:
        types = [recorded.event.type for recorded in world.log if recorded.tx == tx]
        assert types.count("work_started") + types.count("work_skipped") <= MAX_ITEMS_A_TURN
    for i, count in enumerate(counts):
        run = world.run(f"s{i}")
        if run.status != "skipped":
            assert run.skipped + run.active == min(count, run.skipped + parallelism)
    assert told(world.decide(Look(TIMER))) == []


def test_the_random_flows_have_some_of_everything() -> None:
    """Properties of flows in which nothing happens would hold in vain."""
    seen = {recorded.event.type for seed in range(120) for recorded in live(seed).log}
    assert seen >= {
        "work_accepted",
        "work_ignored",
        "work_retry_scheduled",
        "work_skipped",
        "step_skipped",
        "deadline_started",
        "deadline_passed",
        "flow_completed",
        "flow_failed",
        "comp_started",
        "comp_retry_scheduled",
        "comp_succeeded",
        "comp_failed",
    }


def test_the_random_flows_come_to_every_kind_of_end() -> None:
    told = "\n".join(line for seed in range(400) for line in live(seed).lines())
    for text in ("match", "unwanted", "predicate", "lost", "abandoned", "timed out", "outcome unknown"):
        assert text in told
