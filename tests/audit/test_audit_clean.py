"""An audit of a sound namespace finds nothing."""

from __future__ import annotations

from typing import Any

import pytest
from audit_stage import DONE, FAMILY, Stage

from argyll_redis.audit import Report, audit_namespace, keys, logs, namespace, report, walk

pytestmark = pytest.mark.anyio


async def test_a_sound_namespace_has_no_violations(stage: Stage) -> None:
    """Every flow is read, children too, and nothing is found."""
    report = await stage.audit()
    assert report.violations == []
    assert report.flows == 6
    assert report.events == sum(
        len(log.events) for home in stage.server.namespace.partitions for log in home.logs.values()
    )


async def test_one_flow_is_audited_with_its_children(stage: Stage) -> None:
    """Only the flow that was asked for, and what is below it, is read."""
    assert [(await stage.audit(id)).flows for id in (DONE, FAMILY)] == [1, 2]


async def test_pages_of_one_show_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is held at a time, everything is looked at once."""
    for module in (logs, walk):
        monkeypatch.setattr(module, "FLOWS_AT_A_TIME", 1)
    for module, name in ((walk, "KEYS_AT_A_TIME"), (keys, "KEYS_AT_A_TIME"), (keys, "ROWS_AT_A_TIME")):
        monkeypatch.setattr(module, name, 1)
    monkeypatch.setattr(namespace, "ROWS_AT_A_TIME", 1)
    report = await stage.audit()
    assert (report.flows, report.violations) == (6, [])


async def test_a_child_of_nobody_is_found(stage: Stage) -> None:
    """A child is one that its parent has named; an imported one needs no parent."""
    stranger = f"{FAMILY}:settle:{'0' * 32}"
    stage.copy(DONE, stranger)
    report = await stage.audit()
    told = {(each.flow, each.message) for each in report.violations if each.invariant == "I-24"}
    assert told == {(stranger, "the child flow belongs to no work item")}


async def test_a_child_that_is_missing_for_long_is_found(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while an engine may be about to start it."""
    child = stage.child()
    home = stage.home(child)
    for plan in home.logs.pop(child).plans:
        home.plans[plan].users -= 1
    home.indexes["children"].discard(child)
    assert (await stage.audit()).violations == []
    monkeypatch.setattr(walk, "GRACE_MS", -1)
    assert [each.invariant for each in (await stage.audit()).violations] == ["I-24"]


async def test_how_far_it_is_is_told(stage: Stage) -> None:
    """After each page: how many flows were read, and about how many there are."""
    told: list[tuple[int, int]] = []
    await audit_namespace(stage.app, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (6, 6)


def test_a_report_lists_so_many_violations_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace that is broken all over does not fill the memory."""
    monkeypatch.setattr(report, "MAX_FOUND", 2)
    made = Report()
    for flow in "cab":
        made.add("I-01", "a gap", flow=flow)
    made.close()
    assert ([each.flow for each in made.violations], made.more, made.count) == (["a", "c"], 1, 3)


async def test_an_imported_flow_from_a_server_whose_clock_is_ahead_is_sound(stage: Stage) -> None:
    """Its events are later than its import, and that is as it must be."""
    lines: list[Any] = [line async for line in stage.app.export_flow(DONE)]
    lines[0]["flow_id"] = "imported"
    for line in lines[1:]:
        line["at"] += 3_600_000
    await stage.app.import_flow(lines)
    report = await stage.audit()
    assert (report.flows, report.violations) == (7, [])


async def test_the_child_of_a_flow_that_cannot_be_read_is_no_stranger(stage: Stage) -> None:
    """What its parent has named is not known then."""
    stage.change(FAMILY, 2, type="work_dreamt_of")
    assert [(each.flow, each.invariant) for each in (await stage.audit()).violations] == [(FAMILY, "I-03")]
