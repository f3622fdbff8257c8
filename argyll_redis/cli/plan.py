"""`argyll plan`: what a flow would run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.completing import complete_steps
from argyll_redis.cli.dot import dot_text
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common, init_options, read_init
from argyll_redis.cli.step import step_table
from argyll_redis.cli.texts import counted, facts, listed, table, terminal_width


@click.command(short_help="Show what a flow would run, without starting it.")
@click.argument("goals", metavar="GOAL...", nargs=-1, required=True, shell_complete=complete_steps)
@init_options
@click.option("--why", is_flag=True, help="Say of every step why it is in the plan or left out.")
@click.option("--dot", is_flag=True, help="Draw it: print the plan as a graph for Graphviz.")
@common
def plan(
    asked: Asked, goals: tuple[str, ...], init: tuple[str, ...], init_file: str | None, why: bool, dot: bool
) -> None:
    """Show what a flow would run to reach the goals, without starting it.

    GOAL is the id of a step that must be done. Initial values that the goals need and that are not
    given are named. Nothing is stored.

    Example: `argyll plan ship --init order_id=17 --dot | dot -Tsvg > plan.svg`
    """
    from argyll_redis.core.plan_json import plan_to_json

    if dot and (why or asked.as_json):
        raise click.UsageError("--dot goes with neither --why nor --json")
    values = read_init(init, init_file)
    planned = run(asked, lambda app: app.plan(goals, values))
    document = plan_to_json(planned)
    if dot:
        print_text(dot_text(planned))
    elif asked.as_json:
        print_json(document)
    else:
        order = sorted(planned.steps, key=lambda id: -planned.rank.get(id, 0))
        _print_plan(document, [document["steps"][id] for id in order], with_why=why)


def _print_plan(document: dict[str, Any], steps: list[dict[str, Any]], *, with_why: bool) -> None:
    """Prints the steps, providers before their consumers, and what is missing."""
    why = document["why"] if with_why else {}
    left_out = {id: text for id, text in why.items() if id not in document["steps"]}
    print_text(
        facts(
            [
                ("goals", listed(document["goals"])),
                ("missing", _missing(document["required"])),
                (
                    "steps",
                    counted(len(steps), "step") if steps else "none: the goals are done from the start",
                ),
            ]
        ),
        step_table(steps, width=terminal_width(), why=why) if steps else "",
        _child_table(document["children"]) if document["children"] else "",
        _left_out_table(left_out) if left_out else "",
    )


def _child_table(children: dict[str, Any]) -> str:
    """What the children of flow steps run, those of children under their own steps, and what they lack."""
    rows = list(_child_rows(children))
    return table(("sub-flow", "goals", "steps", "missing"), rows, width=terminal_width(), keep=("sub-flow",))


def _child_rows(children: dict[str, Any], within: str = "") -> Iterator[tuple[str, str, str, str]]:
    for id, child in children.items():
        yield f"{within}{id}", listed(child["goals"]), listed(child["steps"]), listed(child["required"])
        yield from _child_rows(child["children"], f"{within}{id} > ")


def _missing(names: list[str]) -> str:
    return f"{listed(names)} (give each with --init)" if names else ""


def _left_out_table(why: dict[str, str]) -> str:
    return table(("left out", "why"), why.items(), width=terminal_width(), keep=("left out",))
