"""Steps of type sync and async: a service is called, and its answer is what the work came to.

A sync step's answer is its outcome; an async step's says that the outcome will come to the webhook. A call
waits on the event loop, so an engine has as many under way as it has slots. A flow that is cancelled does
not stop them: what a service has begun, it finishes, and its outcome is recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.util import find_spec

from argyll_redis.core.commands import Broken, Outcome, Succeeded, Unfinished
from argyll_redis.core.model import Step, StepType
from argyll_redis.steps.http_answer import error_of, judge, one_line
from argyll_redis.steps.http_client import CallBroke, CallRefused, HttpClient
from argyll_redis.steps.http_request import HttpRequest, Unfillable, call_of
from argyll_redis.steps.job import Job, fit_outputs

log = logging.getLogger(__name__)

NEEDED = "aiohttp"
"""The package of the extra `http`."""
HTTP_TYPES = (StepType.SYNC, StepType.ASYNC)


def is_installed() -> bool:
    """Whether calls can be made in this process."""
    return find_spec(NEEDED) is not None


class HttpHandler:
    """Calls services. Only steps that it can do are asked of it."""

    def __init__(self, client: HttpClient, *, webhook_base_url: str, now_ms: Callable[[], int]) -> None:
        """`now_ms` is a clock (unix ms) for answers that name a date."""
        self._client = client
        self._base_url = webhook_base_url
        self._now_ms = now_ms
        self._is_installed = is_installed()
        self._told: set[str] = set()
        """Reasons why steps cannot be done that were logged already."""

    @property
    def types(self) -> tuple[StepType, ...]:
        """The types whose steps it can call."""
        return tuple(type for type in HTTP_TYPES if not self.lacks(type))

    def lacks(self, type: StepType) -> str:
        """What is missing for steps of a type, with the mend; empty when nothing is."""
        if not self._is_installed:
            return "the package aiohttp is missing (pip install 'argyll-redis[http]')"
        if type is StepType.ASYNC and not self._base_url:
            return "there is no webhook address (serve HTTP here, or set the webhook base URL)"
        return ""

    def has(self, step: Step) -> bool:
        """Whether it can call a step; says once why it cannot."""
        return self._is_able(step.type, f"steps of type {step.type} are not called here")

    def has_undo(self, step: Step) -> bool:
        """Whether it can undo a step's work, which needs no webhook."""
        return self._is_able(StepType.SYNC, "steps are not undone over HTTP here")

    def _is_able(self, type: StepType, consequence: str) -> bool:
        lack = self.lacks(type)
        if lack and consequence not in self._told:
            self._told.add(consequence)
            log.warning("%s, their work is left to other engines: %s", consequence, lack)
        return not lack

    async def __call__(self, job: Job) -> Outcome:
        """Calls the service, or asks it to undo what it did."""
        try:
            request = call_of(job, self._base_url)
        except Unfillable as error:
            return Broken(one_line(str(error)))
        limit_ms = _limit_ms(job.step)
        limit = asyncio.timeout(limit_ms / 1000)
        try:
            async with limit:
                outcome = await self._outcome(job, request)
        except TimeoutError:
            if not limit.expired():
                raise
            job.context.cancel()
            return Unfinished(f"timed out after {limit_ms} ms")
        return _without_secrets(outcome, request)

    async def _outcome(self, job: Job, request: HttpRequest) -> Outcome:
        try:
            answer = await self._client.send(request)
        except CallRefused as refused:
            return Broken(str(refused))
        except CallBroke as broke:
            return Unfinished(str(broke))
        is_async = job.step.type is StepType.ASYNC and job.undo is None
        outcome = judge(answer, is_async=is_async, now_ms=self._now_ms)
        if not isinstance(outcome, Succeeded):
            return outcome
        if job.undo is not None:
            return Succeeded({})
        declared = {output.inner for output in job.step.outputs}
        return fit_outputs({name: value for name, value in outcome.outputs.items() if name in declared})

    async def probe(self, url: str) -> str | None:
        """Asks a URL how its service is; gives what is wrong, without the URL, None when it is well."""
        try:
            answer = await self._client.send(HttpRequest("GET", url))
        except (CallRefused, CallBroke) as error:
            return str(error)
        return None if answer.is_success else error_of(answer)


def _limit_ms(step: Step) -> int:
    """How long a call may take, from the look for the address to the end of the answer."""
    assert step.http is not None
    limits = (step.http.timeout_ms, step.work.timeout_ms)
    return min(limit for limit in limits if limit)


def _without_secrets(outcome: Outcome, request: HttpRequest) -> Outcome:
    """Takes the webhook's URL out of an error, in which a service may have repeated it: events are kept."""
    url = request.headers.get("Argyll-Webhook-URL")
    if url and isinstance(outcome, Unfinished | Broken) and url in outcome.error:
        return outcome._replace(error=outcome.error.replace(url, "[webhook]"))
    return outcome
