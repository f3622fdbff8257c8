"""Flows as people read them: lists, states, events, explanations. Gives text, prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from argyll_redis.cli.texts import (
    GAP,
    MIN_COLUMN,
    ago,
    beside,
    columns_of,
    compact,
    counted,
    duration,
    facts,
    listed,
    moment,
    paint,
    pairs,
    printable,
    shortened,
    status,
    table,
    terminal_width,
)

Shape = Mapping[str, Any]

TYPE_WIDTH = len("work_retry_scheduled")
STEP_WIDTH = 20
"""Columns of an event line; what is longer pushes the rest to the right."""
EVENT_COLUMNS = 110
"""Of a terminal that has room for an event's date and for steps of any usual name."""
NARROW_STEP_WIDTH = 14
NOT_SHOWN = frozenset({"step", "token", "tokens", "plan"})
"""Data of events that lines leave out; `--json` has it all."""
MAX_CHILD_ROWS = 20
"""Child flows of a flow that are listed; `--json` has all of them."""
EMPTY: tuple[Any, ...] = ({}, [], "")
"""What is left out, too, as it says nothing."""


def flow_table(flows: Iterable[Shape]) -> str:
    """One line a flow, with how long ago it started."""
    from argyll_redis.runtime.clock import wall_ms

    now_ms, width = wall_ms(), terminal_width()
    rows = [
        (
            each["id"],
            status(each["status"]),
            ago(each["timestamp"], now_ms),
            pairs(each["labels"]),
            each.get("error") if width is None else _root_of(each.get("error", "")),
        )
        for each in flows
    ]
    headers = ("flow", "status", "started", "labels", "error")
    return table(headers, rows, width=width, keep=("flow", "status", "started"))


def next_page(found: Shape) -> str:
    """How many there are, and how to see more of them."""
    from argyll_redis.querying import MAX_WALKED

    more = " or more" if found["total"] >= MAX_WALKED else ""
    return (
        f"\n{found['count']:,} of {found['total']:,}{more} flows; the next: --cursor {found['next_cursor']}"
    )


def _root_of(error: str) -> str:
    """What is worth its place where there is little: the root cause, not which goal it has cost."""
    from argyll_redis.core.rules import UNREACHABLE

    return error.rpartition(f" {UNREACHABLE}: ")[2]


def state(flow: Shape) -> list[str]:
    """A flow's facts, its steps and its attributes."""
    children = _child_table(flow["executions"])
    tables = [_step_table(flow), *([children] if children else []), _attribute_table(flow["attributes"])]
    return [facts(_about(flow)), *tables]


def _about(flow: Shape) -> list[tuple[str, object]]:
    return [
        ("flow", flow["id"]),
        ("status", status(flow["status"])),
        ("error", flow.get("error")),
        ("goals", listed(flow["plan"]["goals"])),
        *(
            (name, moment(flow[field]))
            for name, field in (
                ("started", "created_at"),
                ("ended", "completed_at"),
                ("deactivated", "deactivated_at"),
            )
            if field in flow
        ),
        ("labels", pairs(flow["labels"])),
        ("metadata", pairs(flow["metadata"])),
    ]


def _step_table(flow: Shape) -> str:
    executions: Shape = flow["executions"]
    if not executions:
        return "no steps: the goals were done from the start"
    # Steps that have not started come last; times in RFC 3339 sort as text.
    ordered = sorted(executions.items(), key=lambda each: (each[1].get("started_at") or "~", each[0]))
    rows = [
        (
            id,
            flow["plan"]["steps"][id]["type"],
            status(run["status"]),
            duration(run["duration"]) if "duration" in run else None,
            _items(run.get("work_items", {})),
            _trouble(run),
        )
        for id, run in ordered
    ]
    headers = ("step", "type", "status", "took", "items", "error")
    return table(headers, rows, width=terminal_width(), keep=("step", "type", "status"))


def _child_table(executions: Shape) -> str:
    """The child flows of a flow; empty when it has none."""
    rows = [
        (id, place, item["child"], status(item["status"]))
        for id, run in executions.items()
        for place, item in enumerate(run.get("work_items", {}).values(), 1)
        if "child" in item
    ]
    if not rows:
        return ""
    shown = table(("step", "item", "child flow", "item's status"), rows[:MAX_CHILD_ROWS])
    more = len(rows) - MAX_CHILD_ROWS
    return shown + (f"\nand {counted(more, 'child flow', 'child flows')} more" if more > 0 else "")


def _items(items: Shape) -> str:
    """How the work items of a step stand; nothing for a single one without retries."""
    standing: dict[str, int] = {}
    for item in items.values():
        standing[item["status"]] = standing.get(item["status"], 0) + 1
    retries = sum(item.get("retry_count", 0) for item in items.values())
    parts = [f"{count} {word}" for word, count in standing.items()] if len(items) > 1 else []
    if retries:
        parts.append(counted(retries, "retry", "retries"))
    return ", ".join(parts)


def _trouble(run: Shape) -> str | None:
    """What is wrong with a step: its error, or that of an item that will be tried again."""
    errors = (item.get("error") for item in run.get("work_items", {}).values())
    return run.get("error") or next((error for error in errors if error), None)


def _attribute_table(attributes: Shape) -> str:
    if not attributes:
        return ""
    rows = [
        (name, each.get("step", "initial"), compact(each["value"]) if "value" in each else "null")
        for name, values in attributes.items()
        for each in values
    ]
    return table(("attribute", "from", "value"), rows, width=terminal_width(), keep=("attribute",))


def outcome(found: Shape) -> list[str]:
    """What became of a flow: one line, and the result by name."""
    result = [(name, compact(value)) for name, value in (found["result"] or {}).items()]
    return [
        f"flow {found['id']} {status(found['status'])}",
        table(("result", "value"), result, width=terminal_width(), keep=("result",)) if result else "",
    ]


def event_line(event: Shape) -> str:
    """An event on one line: version, time, type, step, data."""
    version = event["id"].partition("-")[0]
    data = event["data"]
    kind = f"{event['type']:<{TYPE_WIDTH}}"
    width = terminal_width()
    is_narrow = width is not None and width < EVENT_COLUMNS
    step = printable(data.get("step", ""))
    step = (
        f"{shortened(step, NARROW_STEP_WIDTH):<{NARROW_STEP_WIDTH}}" if is_narrow else f"{step:<{STEP_WIDTH}}"
    )
    shown = {name: value for name, value in data.items() if name not in NOT_SHOWN and value not in EMPTY}
    details = pairs(shown)
    time = _time_of_day(event["at"])
    before = f"{version:>6}  {time.partition(' ')[2] if is_narrow else time}  "
    if width is not None:
        room = width - columns_of(before) - len(kind) - columns_of(step) - 2 * len(GAP)
        details = shortened(details, max(room, MIN_COLUMN))
    colour = _colour(event["type"])
    return f"{before}{paint(kind, colour) if colour else kind}  {step}  {details}".rstrip()


def _time_of_day(at_ms: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S}.{at_ms % 1_000:03}Z"


def _colour(kind: str) -> str | None:
    """The colour of an event type; most have none."""
    if kind.endswith("failed"):
        return "red"
    if kind in ("flow_completed", "step_completed"):
        return "green"
    return "yellow" if kind in ("work_not_completed", "step_skipped", "work_ignored") else None


def explanation(explained: Shape) -> str:
    """The clauses of a why, each after the version of its event."""
    head = f"step {explained['step']} of flow {explained['flow_id']}: {status(explained['status'])}"
    lines = [
        beside(f"{_version(each['version']):>8}  ", printable(each["text"])) for each in explained["why"]
    ]
    return "\n".join([head, *lines])


def _version(version: int | None) -> str:
    return f"[{version}]" if version else ""
