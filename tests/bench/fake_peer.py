"""A peer that is none: as its worker it does nothing, as its client it keeps a key a flow.

`python -m tests.bench.fake_peer worker`, or `... client KIND COUNT RESULT`. With `wrong` for `client` its
flows come to something else than they must, with `deaf` to nothing; `ended` is a worker that does not stay.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count

import redis

from bench.peers.programs.protocol import Shape, serve

VALUE = "v" * 1_000
"""Of a key; so what a flow takes is known well enough."""


def main() -> None:
    role, *shape = sys.argv[1:]
    if role == "ended":
        return
    if role == "worker":
        signal.pause()
    wanted = Shape.from_arguments(shape)
    server = redis.Redis.from_url(os.environ["BENCH_PEER_URL"])
    numbers = count()

    def run(flows: int) -> list[int]:
        if role == "deaf":
            sys.stdin.read()
        for _ in range(flows):
            server.set(f"flow:{next(numbers)}", VALUE)
        return [wanted.result + (role == "wrong")] * flows

    serve(wanted, run)


if __name__ == "__main__":
    main()
