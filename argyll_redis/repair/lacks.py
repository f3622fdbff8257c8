"""What flows ought to have pending and lack, restored as the sweep of every engine does it: by turns that are
decided on the flow's newest state, so that whatever happens meanwhile is never overwritten.

A flow lacks something for sure when it was not pending in two looks, and the log ended at the same place
before both and after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from argyll_redis.core.commands import Answer
from argyll_redis.core.outbox import References
from argyll_redis.core.state import Flow
from argyll_redis.errors import ArgyllError, HistoryLost, InvariantBroken, StoreUnavailable, UnknownEvent
from argyll_redis.repair.finding import Finding, Place
from argyll_redis.repair.queues import living
from argyll_redis.runtime.mailbox import Posted
from argyll_redis.runtime.sweep import Sweep
from argyll_redis.runtime.sweep_children import ABSENT, CANCEL, WORD, read_family
from argyll_redis.store.protocol import CONTROL, work_stream

FLOWS_AT_A_TIME = 100
"""Open flows that are read together."""
COMMIT_LIMIT_S = 30
"""How long a repair waits for one of its turns."""


class Awaited(Posted):
    """A command of a repair, whose commit is waited for."""

    def __init__(self, posted: Posted) -> None:
        super().__init__(posted.command, posted.entry, posted.ops)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def succeed(self, answer: Answer) -> None:
        """Says that it is committed."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Says why it will not be."""
        if not self.done.done():
            self.done.set_exception(error)


async def look_at_lacks(place: Place, partition: int, flow_ids: Sequence[str], queues: Sequence[str]) -> None:
    """Looks at open flows of a partition."""
    node = place.node
    sweep = Sweep(
        node.client_id,
        store=node.store,
        committer=node.committer,
        logs=node.logs,
        clock=node.clock,
        evaluate=node.evaluator,
    )
    ends = await node.store.log_ends(flow_ids)
    # Twice, because an entry that is handed back for later moves from its stream to the due ones, which are
    # read first.
    references = living(await node.store.pending(partition, queues))
    references |= living(await node.store.pending(partition, queues))
    for first in range(0, len(flow_ids), FLOWS_AT_A_TIME):
        page = flow_ids[first : first + FLOWS_AT_A_TIME]
        flows = await _read(place, page)
        family = await read_family(flows.values(), store=node.store, read=lambda ids: _list(place, ids))
        for flow_id, end in zip(page, ends[first : first + FLOWS_AT_A_TIME], strict=True):
            flow = flows.get(flow_id)
            if flow is None or end != (flow.version, flow.last_tx):
                continue  # it has gone on since: it is in good hands
            try:
                ought, lacks = sweep.lacks(flow, references, family)
            except InvariantBroken as error:
                await place.report.take(_undecided(place, partition, flow_id, error))
                continue
            for lack in sorted(lacks):
                posted = sweep.restoration(ought, lack)
                finding = _finding(place, partition, flow, ought=ought, lack=lack, posted=posted)
                await place.report.take(finding)


async def _list(place: Place, flow_ids: Sequence[str]) -> list[Flow]:
    return list((await _read(place, flow_ids)).values())


async def _read(place: Place, flow_ids: Sequence[str]) -> dict[str, Flow]:
    """Folds logs; those that cannot be read are said elsewhere."""
    flows = [Flow(flow_id) for flow_id in flow_ids]
    try:
        await place.node.logs.catch_up(flows)
    except ArgyllError as error:
        if isinstance(error, StoreUnavailable) and not isinstance(error, HistoryLost):
            raise
        if len(flows) == 1:
            return {}
        found = [await _read(place, [flow_id]) for flow_id in flow_ids]
        return {id: flow for each in found for id, flow in each.items()}
    return {flow.id: flow for flow in flows if flow.version}


def _finding(
    place: Place, partition: int, flow: Flow, *, ought: References, lack: str, posted: Posted
) -> Finding:
    what, name, detail = _told(ought, lack)

    async def mend() -> bool:
        awaited = Awaited(posted)
        place.node.committer.post(flow.id, awaited)
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                await awaited.done
        except TimeoutError:
            raise StoreUnavailable(f'the repair of flow "{flow.id}" was not committed in time') from None
        except (HistoryLost, InvariantBroken, UnknownEvent) as error:
            await place.report.take(_undecided(place, partition, flow.id, error))
            return False
        return True

    return Finding(what, place.keys.of(partition, name), flow.id, detail, mend)


def _undecided(place: Place, partition: int, flow_id: str, error: ArgyllError) -> Finding:
    detail = f"nothing can be decided on the flow: {error}"
    return Finding("log", place.keys.of(partition, f"flow:{flow_id}"), flow_id, detail)


def _told(ought: References, lack: str) -> tuple[str, str, str]:
    """The kind of a lack, the key that lacks it, and what becomes of it."""
    kind, _, rest = lack.partition(" ")
    match kind:
        case "work":
            queue = next(queue for queue, payload in ought.work if payload == rest)
            return (
                "entry",
                work_stream(queue),
                f"released work `{rest}` is nowhere: its attempt counts as lost",
            )
        case "due":
            return "due", "due", f"`{rest}` is missing: it is added again"
        case _ if kind == ABSENT:
            return "child", CONTROL, f"the child of `{rest}` is not there: its attempt counts as lost"
        case _ if kind == WORD:
            return "child", CONTROL, f"the word that a child has ended is missing: `{rest}` is sent again"
        case _ if kind == CANCEL:
            return "child", CONTROL, "nobody waits for this child: it is cancelled"
        case _:
            return "entry", CONTROL, "nobody was asked to look at the flow, and a look moves it on"
