"""The ceiling: how fast the server applies a run's recorded bytes when the sender does nothing else.

Nobody can be faster on this server with these scripts; the share of it that a run reaches says how
much the engine's own work costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.dumb_socket import DumbSocket
from bench.recorder import Recording, load_commit_script

WINDOWS = (1, 4)
"""Calls on their way at a time: one, and as many as the engine has. The faster one counts."""


class UnlikeRun(Exception):
    """The replay did not do what the run did, so its time says nothing."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay."""

    seconds: float
    turns: int
    """Applied; as many as were recorded."""
    script_s: float = 0.0
    """Time that the server spent in the commit calls."""

    @property
    def turns_per_s(self) -> float:
        return self.turns / self.seconds


def replay(url: str, recording: Recording, *, window: int) -> Replay:
    """Sends a recording to an empty server. Raises `UnlikeRun` when a turn is refused."""
    load_commit_script(url)
    with DumbSocket(url) as link:
        for packed in recording.setup:
            link.exchange(packed)
        before_s = _script_s(link)
        seconds, replies = link.replay(recording.commits, window=window)
        script_s = _script_s(link) - before_s
    applied = sum(_applied(reply) for reply in replies)
    if applied != recording.turns:
        raise UnlikeRun(f"{applied} of {recording.turns} recorded turns were applied again")
    return Replay(seconds, applied, script_s)


def _applied(reply: Any) -> int:
    """How many turns a commit call has applied. Raises the server's error."""
    if isinstance(reply, Exception):
        raise UnlikeRun(f"a recorded call was refused: {reply}")
    _, turns, _ = reply
    return sum(turn[0] == 1 for turn in turns)


def _script_s(link: DumbSocket) -> float:
    """What the server says it has spent in EVALSHA so far."""
    lines = link.ask("INFO", "commandstats").decode().splitlines()
    for line in lines:
        if line.startswith("cmdstat_evalsha:"):
            return int(line.partition("usec=")[2].partition(",")[0]) / 1e6
    return 0.0
