"""A plan as a graph for Graphviz. The same plan gives the same text, and any name is safe in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from argyll_redis.core.text import printable

if TYPE_CHECKING:
    from argyll_redis.core.model import Attribute, Plan


def dot_text(plan: Plan) -> str:
    """Steps as boxes, goals with a double line, attributes as ovals; what is required and not given is
    dashed, and so is the way to a step that can do without."""
    fonts = ['node [fontname="sans-serif"]', 'edge [fontname="sans-serif"]']
    lines = ["rankdir=LR", *fonts, *_steps(plan), *_attributes(plan), *_edges(plan)]
    return "\n".join(["digraph plan {", *(f"  {line};" for line in lines), "}"])


def _steps(plan: Plan) -> Iterator[str]:
    for id, step in sorted(plan.steps.items()):
        goal = ", peripheries=2" if id in plan.goals else ""
        yield f"{_node('step', id)} [shape=box, label={_quoted(id, str(step.type))}{goal}]"
    for goal in plan.goals:
        if goal not in plan.steps:
            label = _quoted(goal, "done from the start")
            yield f"{_node('step', goal)} [shape=box, style=dotted, label={label}, peripheries=2]"


def _attributes(plan: Plan) -> Iterator[str]:
    for name in _names(plan):
        style = ", style=dashed" if name in plan.required else ""
        yield f"{_node('attribute', name)} [shape=ellipse, label={_quoted(name)}{style}]"


def _names(plan: Plan) -> list[str]:
    return sorted({each.name for step in plan.steps.values() for each in (*step.inputs, *step.outputs)})


def _edges(plan: Plan) -> Iterator[str]:
    for id, step in sorted(plan.steps.items()):
        for attribute in step.inputs:
            nodes = f"{_node('attribute', attribute.name)} -> {_node('step', id)}"
            yield f"{nodes}{_how(attribute)}"
        for attribute in step.outputs:
            yield f"{_node('step', id)} -> {_node('attribute', attribute.name)}"


def _how(attribute: Attribute) -> str:
    """How an input is taken, where that is not the plainest way."""
    words = [
        *([str(attribute.collect)] if attribute.collect != "first" else []),
        *(["for each"] if attribute.for_each else []),
        *(["when it matches"] if attribute.match else []),
    ]
    parts = [f"label={_quoted(', '.join(words))}"] if words else []
    if attribute.role == "optional":
        parts.append("style=dashed")
    return f" [{', '.join(parts)}]" if parts else ""


def _node(kind: str, name: str) -> str:
    """The name of a node: a step and an attribute may be called the same."""
    return _quoted(f"{kind}:{name}")


def _quoted(*lines: str) -> str:
    escaped = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
