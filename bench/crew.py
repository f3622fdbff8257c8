"""The worker processes of a run, as the bench sees them: asked, answered, ended with the run."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench.service import service_process
from bench.worker import SERVICE_VARIABLE, Role
from bench.workloads import Workload

ROOT = Path(__file__).parent.parent
ANSWER_LIMIT_S = 900
"""Longest wait for one answer: a burst on the slowest machine that is any use."""
END_LIMIT_S = 10
"""Longest wait for a worker to drain before it is killed."""
LOOK_S = 0.5
"""Between two looks whether all workers are alive."""


class WorkerFailed(Exception):
    """A worker ended or did not answer; what it said is on standard error."""


class Crew:
    """Workers of one run: `with Crew(workload, roles, url, namespace) as crew`."""

    def __init__(self, workload: Workload, roles: Sequence[Role], url: str, namespace: str) -> None:
        self._workload = workload
        self._environment = {**os.environ, "ARGYLL_REDIS_URL": url, "ARGYLL_NAMESPACE": namespace}
        self._roles = roles
        self._workers: dict[Role, subprocess.Popen[bytes]] = {}
        self._beside = ExitStack()

    def __enter__(self) -> Self:
        try:
            if self._workload.calls:
                self._environment[SERVICE_VARIABLE] = self._beside.enter_context(service_process())
            for role in self._roles:  # one after the other: the first one registers the steps
                self._workers[role] = self._start(role)
                self._answer(role)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def ask(self, role: Role, **request: Any) -> dict[str, Any]:
        """Asks a worker and waits for its answer. Raises `WorkerFailed`."""
        pipe = self._workers[role].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise WorkerFailed(f"the {role} worker has ended") from None
        return self._answer(role)

    def ask_client(self, **request: Any) -> dict[str, Any]:
        """Asks the worker that starts flows."""
        return self.ask(self._roles[-1], **request)

    def cpu_s(self) -> Mapping[Role, float]:
        """The processor time that each worker has had."""
        return {role: self.ask(role, do="cpu")["cpu_s"] for role in self._roles}

    def _start(self, role: Role) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.worker", role, self._workload.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            cwd=ROOT,
            start_new_session=True,
        )

    def _answer(self, role: Role) -> dict[str, Any]:
        pipe = self._workers[role].stdout
        assert pipe is not None
        deadline_s = time.monotonic() + ANSWER_LIMIT_S
        while not select.select([pipe], [], [], LOOK_S)[0]:
            if time.monotonic() > deadline_s:
                raise WorkerFailed(f"the {role} worker did not answer within {ANSWER_LIMIT_S} s")
            for other, worker in self._workers.items():
                if worker.poll() is not None:
                    raise WorkerFailed(f"the {other} worker has ended (exit status {worker.returncode})")
        line = pipe.readline()
        if not line:
            raise WorkerFailed(f"the {role} worker has ended")
        return json.loads(line)

    def _end(self) -> None:
        for worker in self._workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
        for worker in self._workers.values():
            try:
                worker.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()
        self._beside.close()
