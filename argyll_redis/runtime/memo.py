"""Earlier successes of memoizable steps: looked up before a call, kept after a commit.

The outcome of a step that says so is kept under a name that its definition and its inputs give, for all
engines of the namespace. It is a shortcut and never the truth: a log holds what was reused in full, and
a memo that cannot be read or written is only logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from hashlib import blake2b

from argyll_redis.core.collect import item_inputs
from argyll_redis.core.commands import Report, Succeeded
from argyll_redis.core.model import JSON, Step
from argyll_redis.core.state import Flow, WorkStatus
from argyll_redis.core.step_json import step_to_json
from argyll_redis.store.codec import decode, encode, encode_canonical
from argyll_redis.store.protocol import Store

log = logging.getLogger(__name__)

MEMO_TTL_MS = 24 * 3_600_000
"""How long an outcome is kept, unless the app says otherwise."""
NOT_FUNCTIONAL = frozenset({"id", "name", "labels", "work_config", "memoizable"})
"""Parts of a definition that do not change what its work comes to."""
KEY_BYTES = 32
"""Of a key: no two definitions with inputs have the same by chance."""


def memo_key(step: Step, inputs: Mapping[str, JSON]) -> str:
    """Names the outcome of a step for the inputs of one work item, meta inputs left out."""
    definition = {name: part for name, part in step_to_json(step).items() if name not in NOT_FUNCTIONAL}
    return blake2b(encode_canonical([definition, dict(inputs)]), digest_size=KEY_BYTES).hexdigest()


class Memo:
    """What one process reads and writes of earlier successes."""

    def __init__(self, store: Store, ttl_ms: int = MEMO_TTL_MS) -> None:
        self.ttl_ms = ttl_ms
        self._store = store
        self._keeping: dict[asyncio.Task[None], None] = {}

    async def recall(self, step: Step, inputs: Mapping[str, JSON]) -> dict[str, JSON] | None:
        """What the step gave for these inputs before, by inner name; None when that is not known."""
        try:
            found = await self._store.recall(memo_key(step, inputs))
            outputs = None if found is None else decode(found)
        except Exception as error:  # whatever it is, the step can be called instead
            log.warning("no earlier outcome of step %s can be looked up, so it is called: %s", step.id, error)
            return None
        return outputs if isinstance(outputs, dict) else None

    def committed(self, flow: Flow, report: Report) -> None:
        """Keeps a success that was committed and counted, if its step is memoizable and it is no memo
        itself. What is kept is what the step gave: mappings are applied to it anew."""
        outcome = report.outcome
        found = flow.find(report.token)
        if found is None or not isinstance(outcome, Succeeded) or outcome.memo:
            return
        step, item = flow.plan.steps[found[0]], flow.item(*found)
        if not step.memoizable or item is None or item.status is not WorkStatus.SUCCEEDED:
            return
        declared = {each.inner for each in step.outputs}
        outputs = {name: value for name, value in outcome.outputs.items() if name in declared}
        key = memo_key(step, item_inputs(step, flow.steps[step.id].inputs, item.index))
        task = asyncio.get_running_loop().create_task(self._keep(key, outputs))
        self._keeping[task] = None
        task.add_done_callback(self._keeping.pop)

    async def _keep(self, key: str, outputs: dict[str, JSON]) -> None:
        try:
            await self._store.memorize(key, encode(outputs), self.ttl_ms)
        except Exception as error:  # it is committed, and only the next call is not spared
            log.warning("an outcome is not kept for the next time: %s", error)

    async def close(self) -> None:
        """Waits for what is on its way."""
        if self._keeping:
            await asyncio.wait(list(self._keeping))
