"""The rules by which a child flow ends when nobody waits for it any more.

A child is cancelled by a commit of its own. What is decided here is an entry that asks for it, in the
commit that made the child needless: so none is forgotten, whatever happens to the engine.
"""

from __future__ import annotations

from argyll_redis.core.state import WorkItem
from argyll_redis.core.sub_flows import (
    CHILD,
    cancel_payload,
    child_of,
    children_payload,
    waiting_children,
)
from argyll_redis.core.turn import MAX_ITEMS_A_TURN, Turn


def end_children(turn: Turn) -> bool:
    """When a flow or a step is over, the children that it still waits for are cancelled."""
    if turn.orphaning:
        turn.orphaning = False
        cancel_children(turn)
    return False


def cancel_children(turn: Turn, step: str = "", index: int = 0) -> None:
    """Asks for the end of the children that are waited for and do not matter, from an item on; of a
    bounded number of them, and for that of the rest by another entry."""
    asked = 0
    for item in waiting_children(turn.draft):
        if (item.step, item.index) < (step, index) or turn.matters(item.step):
            continue
        if asked == MAX_ITEMS_A_TURN:
            turn.controls.append(children_payload(turn.draft.id, item.step, item.index))
            return
        child_is_needless(turn, item)
        asked += 1


def child_is_needless(turn: Turn, item: WorkItem) -> None:
    """Asks for the end of a work item's child, if it may have one."""
    child = child_of(turn.draft, item)
    if child is not None:
        turn.controls.append(cancel_payload(child))


def item_is_over(turn: Turn, item: WorkItem) -> None:
    """When a work item is over otherwise than by its child's word, its child is cancelled."""
    if not turn.by.startswith(CHILD):
        child_is_needless(turn, item)
