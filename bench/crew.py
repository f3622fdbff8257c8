"""The worker processes of a run, as the bench sees them: asked, answered, ended with the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from bench.hand import Hand, beside
from bench.worker import CONCURRENCY_VARIABLE, LEASE_VARIABLE, SERVICE_VARIABLE, Role
from bench.workloads import Workload


class Crew:
    """Workers of one run: `with Crew(workload, roles, url, namespace) as crew`.

    The last one starts flows and waits for them. `concurrency` and `lease_ms` are the engines' own.
    """

    def __init__(
        self,
        workload: Workload,
        roles: Sequence[Role],
        url: str,
        namespace: str,
        *,
        concurrency: int | None = None,
        lease_ms: int | None = None,
    ) -> None:
        given = {CONCURRENCY_VARIABLE: concurrency, LEASE_VARIABLE: lease_ms}
        self._workload = workload
        self._environment = {
            **os.environ,
            "ARGYLL_REDIS_URL": url,
            "ARGYLL_NAMESPACE": namespace,
            **{name: str(value) for name, value in given.items() if value is not None},
        }
        self._roles = roles
        self._beside = ExitStack()
        self.hands: list[Hand] = []
        """In the order of the roles."""

    def __enter__(self) -> Self:
        try:
            if self._workload.calls:
                self._environment[SERVICE_VARIABLE] = self._beside.enter_context(beside("bench.service"))
            for role in self._roles:  # one after the other: the first one registers the steps
                self.hands.append(self.start(role))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    @property
    def engines(self) -> list[Hand]:
        """Those that are engines, in order."""
        return [hand for hand, role in zip(self.hands, self._roles, strict=True) if role is not Role.CLIENT]

    @property
    def client(self) -> Hand:
        """The one that starts flows."""
        return self.hands[-1]

    def start(self, role: Role) -> Hand:
        """Starts a worker and waits until it can be asked."""
        command = [sys.executable, "-m", "bench.worker", role, self._workload.name]
        return Hand(f"the {role} worker", command, self._environment, is_well=self._look).__enter__()

    def replace(self, old: Hand) -> Hand:
        """Puts a new engine in the place of one that was killed."""
        place = self.hands.index(old)
        self.hands[place] = new = self.start(self._roles[place])
        return new

    def ask_client(self, **request: Any) -> dict[str, Any]:
        """Asks the worker that starts flows."""
        return self.client.ask(**request)

    def cpu_s(self) -> Sequence[float]:
        """The processor time that each worker has had, in order."""
        return [hand.ask(do="cpu")["cpu_s"] for hand in self.hands]

    def counters(self) -> Mapping[str, int]:
        """What all workers together have counted: `commits`, `refusals`, `calls`."""
        counted = [hand.ask(do="counters") for hand in self.hands]
        return {name: sum(each[name] for each in counted) for name in counted[0]}

    def _look(self) -> None:
        for hand in self.hands:
            hand.look()

    def _end(self) -> None:
        for hand in self.hands:
            hand.let_go()
        for hand in self.hands:
            hand.end()
        self._beside.close()
