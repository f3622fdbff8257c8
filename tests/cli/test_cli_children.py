"""Sub-flows by the command line: a flow that has children, and its children."""

from __future__ import annotations

from typing import Any

import pytest
from cli_words import STEPS, Cli

from argyll_redis.cli.flow_screens import rows_of

SUB: dict[str, Any] = {
    "id": "sub",
    "type": "flow",
    "flow": {"goals": ["triple"]},
    "attributes": {
        "xs": {"role": "required", "required": {"for_each": True, "mapping": {"name": "a"}}},
        "ys": {"role": "output", "output": {"mapping": {"name": "c"}}},
    },
}


@pytest.fixture(scope="module")
def shop() -> Cli:
    """A namespace with a completed flow `parent` that had two children."""
    cli = Cli()
    cli.register(*STEPS, SUB)
    with cli.engine():
        start = cli("flow", "start", "sub", "--init", "xs=[1, 2]", "--id", "parent", "--wait")
        assert start.status == 0, start
        assert cli("flow", "wait", children(cli)[-1], "--timeout-ms", "20000").status == 0
    return cli


def children(cli: Cli) -> list[str]:
    items = cli("flow", "show", "parent", "--json").json["executions"]["sub"]["work_items"]
    return [item["child"] for item in items.values()]


def test_show_lists_the_children_of_a_flow(shop: Cli) -> None:
    shown = shop("flow", "show", "parent").out
    assert all(child in shown for child in children(shop))


def test_a_child_is_shown_like_any_flow(shop: Cli) -> None:
    answer = shop("flow", "show", children(shop)[0])
    assert (answer.status, "parent_flow_id=parent" in answer.out) == (0, True)


def test_a_list_leaves_children_out(shop: Cli) -> None:
    listed = shop("flow", "list").out
    assert [each in listed for each in ("parent", *children(shop))] == [True, False, False]


def test_an_audit_counts_children(shop: Cli) -> None:
    assert shop("audit", "--json").json == {"flows": 3, "violations": []}


def test_a_plan_shows_the_plans_of_children(shop: Cli) -> None:
    plan = shop("plan", "sub", "--init", "xs=[1]", "--json").json
    assert list(plan["children"]["sub"]["steps"]) == ["double", "triple"]


def test_a_plan_lists_what_its_sub_flows_run(shop: Cli) -> None:
    last = shop("plan", "sub", "--init", "xs=[1]").out.splitlines()[-1]
    assert last.split() == ["sub", "triple", "double,", "triple", "-"]


def test_a_plan_says_what_a_sub_flow_lacks(cli: Cli) -> None:
    poor = {**SUB, "attributes": {}}
    cli.register(*STEPS, poor)
    assert cli("plan", "sub").out.splitlines()[-1].split() == ["sub", "triple", "double,", "triple", "a"]


def step_row(**more: Any) -> str:
    """What is noted beside an active flow step."""
    step = {
        "id": "sub",
        "status": "active",
        "waits_for": [],
        "items": 1,
        "succeeded": 0,
        "failed": 0,
        "skipped": 0,
        "active": 1,
        "accepted": 1,
        "waiting": 0,
        "retries": 0,
        "lost": 0,
        "started_at": "2026-01-01T00:00:00Z",
        **more,
    }
    [row] = rows_of({"status": "active", "steps": [step]}, now_ms=0)
    return row.note


def test_watching_names_the_child_that_a_step_waits_for() -> None:
    assert step_row(children=["parent:sub:t"]) == "child parent:sub:t"


def test_watching_counts_children_of_several_items() -> None:
    assert step_row(children=["a", "b"], items=3, active=2, accepted=2) == "2 child flows"
