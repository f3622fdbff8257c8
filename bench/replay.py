"""The ceiling: how fast the server applies a run's recorded bytes when the sender does nothing else.

Nobody can be faster on this server with these scripts; the share of it that a run reaches says how
much the engine's own work costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.dumb_socket import DumbSocket
from bench.recorder import Recording, load_commit_script
from bench.server import Server, Spent

WINDOWS = (1, 4)
"""Calls on their way at a time: one, and as many as the engine has. The faster one counts."""
MAX_LEFT_SHARE = 0.01
"""Entries that may be left, of all turns: calls that were on their way together may change places."""


class UnlikeRun(Exception):
    """The replay did not do what the run did, so its time says nothing."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay."""

    seconds: float
    turns: int
    """Applied; as many as were recorded."""
    spent: Spent

    @property
    def turns_per_s(self) -> float:
        return self.turns / self.seconds


def replay(server: Server, recording: Recording, *, window: int) -> Replay:
    """Sends a recording to an empty server. Raises `UnlikeRun` when it does not do there what it did."""
    load_commit_script(server.url)
    with DumbSocket(server.url) as link:
        for packed in recording.setup:
            link.exchange(packed)
        server.pin_entry_ids()
        before = server.spent()
        seconds, replies = link.replay(recording.commits, window=window)
        spent = server.spent() - before
    applied = sum(_applied(reply) for reply in replies)
    if applied != recording.turns:
        raise UnlikeRun(f"{applied} of {recording.turns} recorded turns were applied again")
    left = server.entries()
    if left > MAX_LEFT_SHARE * applied:
        raise UnlikeRun(f"{left} entries are left of {applied} turns: their acknowledgements missed them")
    return Replay(seconds, applied, spent)


def _applied(reply: Any) -> int:
    """How many turns a commit call has applied. Raises the server's error."""
    if isinstance(reply, Exception):
        raise UnlikeRun(f"a recorded call was refused: {reply}")
    _, turns, _ = reply
    return sum(turn[0] == 1 for turn in turns)
