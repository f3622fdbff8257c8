"""Who depends on whom: orders and cycles, in time linear in steps and attributes.

Attributes are nodes of their own beside the steps. Else an attribute with a thousand providers and
a thousand consumers would be a million edges.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from argyll_redis.core.model import Step, StepId

Node = TypeVar("Node", bound=Hashable)


class Named(NamedTuple):
    """The node of an attribute; the node of a step is its id."""

    attribute: str


class Cycle(Exception):
    """What was walked depends on itself."""

    def __init__(self, nodes: Sequence[Hashable]) -> None:
        self.nodes = tuple(nodes)
        """From one node through what each depends on; the last one depends on the first."""
        super().__init__(self.nodes)


def depth_first(roots: Iterable[Node], needs: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """Lists the roots and all that they need, directly or not; what is needed comes first.

    Raises `Cycle`. Not recursive: a chain may have thousands of steps.
    """
    order: dict[Node, None] = {}
    open_nodes: dict[Node, None] = {}
    """Those whose needs are being listed, outermost first."""
    stack = list(reversed(list(roots)))
    while stack:
        node = stack[-1]
        if node in order:
            stack.pop()
        elif node in open_nodes:
            stack.pop()
            del open_nodes[node]
            order[node] = None
        else:
            open_nodes[node] = None
            for need in needs(node):
                if need in open_nodes:
                    path = list(open_nodes)
                    raise Cycle(path[path.index(need) :])
                if need not in order:
                    stack.append(need)
    return list(order)


def providers_first(
    roots: Iterable[StepId], steps: Callable[[StepId], Step], providers: Mapping[str, Sequence[StepId]]
) -> list[StepId]:
    """Lists steps and all possible providers of their inputs, providers before consumers.

    Raises `Cycle` of ids and `Named` attributes.
    """

    def needs(node: StepId | Named) -> Iterable[StepId | Named]:
        if isinstance(node, Named):
            return providers.get(node.attribute, ())
        return [Named(attribute.name) for attribute in steps(node).inputs]

    order = depth_first(roots, needs)
    return [node for node in order if not isinstance(node, Named)]


def rank(steps: Mapping[StepId, Step]) -> dict[StepId, int]:
    """Numbers steps so that consumers come before providers; those equally far from the end by id.

    Only edges among these steps count.
    """
    providers: dict[str, list[StepId]] = {}
    for id, step in steps.items():
        for output in step.outputs:
            providers.setdefault(output.name, []).append(id)
    distance: dict[StepId, int] = {}
    of_name: dict[str, int] = {}
    """How far the providers of an attribute are from the end, at least."""
    for id in reversed(providers_first(steps, steps.__getitem__, providers)):
        far = max((of_name.get(output.name, 0) for output in steps[id].outputs), default=0)
        distance[id] = far
        for attribute in steps[id].inputs:
            of_name[attribute.name] = max(of_name.get(attribute.name, 0), far + 1)
    ordered = sorted(steps, key=lambda id: (distance[id], id))
    return {id: position for position, id in enumerate(ordered)}
