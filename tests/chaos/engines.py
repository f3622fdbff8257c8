"""The engines of a run: processes of the command line, each in a slot with a port of its own.

An engine that is killed leaves its slot to another one, on the same port. They run a copy of the
package that was made when the run began, so that whoever edits the tree meanwhile changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.processes import Child, GaveUp, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_LIMIT_S = 60
POLL_S = 0.02
EXIT_SLACK_S = 15
"""Beside its grace: how long a drain is waited for before it is called a hang."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engines of a run are started."""

    lease_ms: int = 1_500
    concurrency: int = 50
    grace_ms: int = 10_000
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kill:
    """An engine that was killed."""

    pid: int
    at_ms: int
    was_frozen: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """An engine that was told to stop."""

    exit_status: int
    seconds: float


@dataclass(slots=True)
class Slot:
    """A place for an engine."""

    number: int
    port: int
    tree: Path
    """The copy of the package that its engines run."""
    redis_url: str
    child: Child | None = None
    starts: int = 0
    thaw_at_s: float = 0.0
    """When a frozen one goes on; 0 when none is."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True)
class Engines:
    """All engines of a run."""

    directory: Path
    journals: Path
    namespace: str
    options: EngineOptions
    slots: list[Slot] = field(default_factory=list[Slot])
    kills: list[Kill] = field(default_factory=list[Kill])
    drains: list[Drain] = field(default_factory=list[Drain])
    freezes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """From when to when an engine was frozen, unix ms."""
    ended: list[str] = field(default_factory=list[str])
    """What engines that ended by themselves said last."""

    def add(self, redis_url: str, *, tree: Path) -> Slot:
        """Makes a slot; its engine is started later."""
        slot = Slot(len(self.slots), free_port(), tree, redis_url)
        self.slots.append(slot)
        return slot

    def start(self, slot: Slot) -> None:
        """Starts an engine in a slot that is free."""
        slot.starts += 1
        options = self.options
        command = [
            sys.executable, "-m", "argyll_redis.cli", "engine", "--json", "--app", "chaos_app:app",
            "--redis", slot.redis_url, "--namespace", self.namespace, "--http", f"127.0.0.1:{slot.port}",
            "--lease-ms", str(options.lease_ms), "--concurrency", str(options.concurrency),
            "--grace-ms", str(options.grace_ms), *options.more,
        ]  # fmt: skip
        path = os.pathsep.join([str(slot.tree), str(HERE)])
        env = {"PYTHONPATH": path, "CHAOS_JOURNALS": str(self.journals)}
        slot.child = Child(f"engine-{slot.number}-{slot.starts}", command, self.directory, env)
        slot.child.start()

    async def start_all(self) -> None:
        for slot in self.slots:
            self.start(slot)
        for slot in self.slots:
            await self.up(slot)

    async def up(self, slot: Slot) -> None:
        """Waits until an engine says that it takes work. Raises `GaveUp`."""
        deadline_s = time.monotonic() + START_LIMIT_S
        child = slot.child
        assert child is not None
        while not is_up(child):
            if not child.is_running or time.monotonic() > deadline_s:
                raise GaveUp(f"{child.name} does not start: {child.last_words()}")
            await asyncio.sleep(POLL_S)

    @property
    def running(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.child is not None and slot.child.is_running]

    # ----------------------------------------------------------------- faults

    def kill(self, slot: Slot, *, replace: bool = True) -> Kill:
        """Kills an engine; another one takes its slot."""
        assert slot.child is not None
        kill = Kill(slot.child.pid, _now_ms(), slot.thaw_at_s > 0)
        slot.child.kill()
        slot.thaw_at_s = 0.0
        self.kills.append(kill)
        if replace:
            self.start(slot)
        return kill

    async def freeze(self, slot: Slot, seconds: float) -> None:
        """Stops an engine in the middle of whatever it does, for so long."""
        child = slot.child
        if child is None or not child.is_running or slot.thaw_at_s:
            return
        began_ms = _now_ms()
        slot.thaw_at_s = time.monotonic() + seconds
        child.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.freezes.append((began_ms, _now_ms()))
            if slot.child is child:
                slot.thaw_at_s = 0.0
                child.thaw()

    async def restart(self, slot: Slot) -> Drain:
        """Tells an engine to stop, waits for it, and starts another one. Raises `GaveUp`."""
        drain = await self.stop(slot)
        self.start(slot)
        await self.up(slot)
        return drain

    async def stop(self, slot: Slot) -> Drain:
        """Tells an engine to stop and waits for it. Raises `GaveUp`."""
        child = slot.child
        assert child is not None
        began_s = time.monotonic()
        child.signal(signal.SIGTERM)
        status = await child.ended(self.options.grace_ms / 1000 + EXIT_SLACK_S)
        drain = Drain(status, time.monotonic() - began_s)
        self.drains.append(drain)
        return drain

    def revive(self) -> None:
        """Starts engines anew where one has ended by itself, and notes what it said."""
        for slot in self.slots:
            if slot.child is not None and slot.child.exit_status is not None:
                what = f"{slot.child.name} ended with {slot.child.exit_status}: {slot.child.last_words()}"
                self.ended.append(what)
                self.start(slot)

    # -------------------------------------------------------------------- end

    def thaw_all(self) -> None:
        for slot in self.slots:
            if slot.child is not None and slot.thaw_at_s:
                slot.child.thaw()

    def close(self) -> None:
        for slot in self.slots:
            if slot.child is not None:
                slot.child.kill()

    def complaints(self) -> list[str]:
        """What all engines have logged as critical, or as an error that is a bug by its words."""
        found: list[str] = []
        for path in sorted(self.directory.glob("engine-*.log")):
            said = path.read_text(errors="replace").splitlines()
            found += [f"{path.stem}: {line[:400]}" for line in said if is_complaint(line)]
        return found


def is_up(child: Child) -> bool:
    return '"engine started"' in child.said()


def is_complaint(line: str) -> bool:
    """Whether a line of an engine's log is of something that no fault outside may bring about."""
    if line.startswith("Traceback"):
        return True
    if not line.startswith("{"):
        return False
    try:
        said = json.loads(line)
    except ValueError:
        return False  # it was killed while it wrote
    return said.get("level") in ("error", "critical") or "this is a bug" in str(said.get("message", ""))


def copied_tree(directory: Path) -> Path:
    """Copies the package into the run's directory, as it is now."""
    tree = directory / "tree"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("argyll_redis", "lua"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    return tree


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def pids(slots: Sequence[Slot]) -> list[int]:
    return [slot.child.pid for slot in slots if slot.child is not None and slot.child.is_running]
