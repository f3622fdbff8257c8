"""Script steps: small pure functions in a sandboxed language, run by whichever engine has the work."""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter, to_thread

from argyll_redis.core.commands import Broken, Outcome, Succeeded
from argyll_redis.errors import ScriptError
from argyll_redis.scripting import Evaluator
from argyll_redis.steps.job import Job


class ScriptHandler:
    """Runs scripts in threads, so that one that uses its whole limit holds up nobody."""

    def __init__(self, evaluator: Evaluator, concurrency: int) -> None:
        self._evaluator = evaluator
        self._limiter = CapacityLimiter(max(1, concurrency))

    async def __call__(self, job: Job) -> Outcome:
        assert job.step.script is not None
        types = {output.inner: output.type for output in job.step.outputs}
        run = partial(self._evaluator.run, job.step.script, job.inputs, types)
        try:
            return Succeeded(await to_thread.run_sync(run, limiter=self._limiter))
        except ScriptError as error:
            return Broken(str(error))
