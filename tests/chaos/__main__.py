"""`python -m tests.chaos [--flows N] [--redis URL]`: engines killed under load, then everything checked.

Without a URL it starts the redis-server or valkey-server that is on PATH.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys

from argyll_redis.runtime.embedded import EmbeddedServer
from tests.chaos.run import Outcome, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--flows", type=int, default=2_000)
    parser.add_argument("--redis", help="URL of a server; a namespace of its own is used there")
    options = parser.parse_args()
    if options.redis:
        return report(asyncio.run(run(options.redis, f"chaos-{secrets.token_hex(4)}", flows=options.flows)))
    with EmbeddedServer() as server:
        if server.pid is None:
            print("no redis-server or valkey-server on PATH: give --redis URL", file=sys.stderr)
            return 2
        return report(asyncio.run(run(server.url, "chaos", flows=options.flows)))


def report(outcome: Outcome) -> int:
    print(f"flows           {outcome.statuses}")
    print(f"still open      {outcome.open_flows}")
    print(f"left in queues  {outcome.waiting}")
    print(f"lost attempts   {outcome.lost_attempts} (each started again)")
    print(f"audit           {len(outcome.violations)} violations")
    for violation in outcome.violations[:20]:
        print(f"                {violation}")
    print(f"took            {outcome.seconds:.1f} s")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
