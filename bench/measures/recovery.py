"""W7: an engine is killed while it works, and its items run again elsewhere: how long that takes.

The time of an item runs from the kill to the event that starts it again, both by the clock of this
machine, which is the server's when that is here, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from bench.crew import Crew
from bench.options import Options
from bench.rows import Figures, Probe, percentile
from bench.server import Servers
from bench.worker import Role
from bench.workloads import workload_of

ENGINES = 3
SETTLE_LEASES = 1.0
"""Before each kill: all engines have work by then, and hold leases that they have renewed."""
RECOVER_LEASES = 1.25
"""By the end of so many leases, and `RECOVER_S`, everything that was lost ought to run again."""
RECOVER_S = 1.0
CLOCKS_MS = 20
"""How far after a kill, as this process sees it, an attempt of the killed engine may have been started."""


def probes(servers: Servers, options: Options) -> Iterable[Probe]:
    """One."""
    about = {
        "workload": "W7",
        "layout": f"a lease of {options.lease_ms:,} ms",
        "engines": ENGINES,
        "flows": options.supply,
        "note": "flows on their way at any time; p50 and p99 are of the items of killed engines",
        **servers.about(),
    }
    return [Probe(about, Recovery(servers, options).run)]


def recovery_times_ms(lost: Iterable[tuple[int, int]], killed_ms: Sequence[int]) -> list[int]:
    """From the kill that each lost attempt died of until its item was started again.

    That kill is the first one after the attempt was started, so that an item that is taken over late is not
    an early one of the next kill. What was lost without a kill counts from its own start.
    """
    return [
        again - next((kill for kill in killed_ms if kill + CLOCKS_MS >= started), started)
        for started, again in lost
    ]


class Recovery:
    """Several kills in one run, each after the one before has been recovered from."""

    def __init__(self, servers: Servers, options: Options) -> None:
        self._servers = servers
        self._options = options

    def run(self) -> Figures:
        roles = (*[Role.ENGINE] * ENGINES, Role.CLIENT)
        with (
            self._servers.fresh() as server,
            Crew(
                workload_of("waiting"),
                roles,
                server.url,
                server.namespace,
                lease_ms=self._options.lease_ms,
            ) as crew,
        ):
            crew.ask_client(do="supply", flows=self._options.supply)
            killed_ms = [self._kill(crew, number) for number in range(self._options.kills)]
            ended = crew.ask_client(do="end_supply")
        times_ms = recovery_times_ms(ended["lost"], killed_ms)
        return {
            "lease_ms": self._options.lease_ms,
            "kills": len(killed_ms),
            "lost_items": len(times_ms),
            "p50_ms": percentile(times_ms, 50) if times_ms else None,
            "p99_ms": percentile(times_ms, 99) if times_ms else None,
        }

    def _kill(self, crew: Crew, number: int) -> int:
        """Kills one engine, waits, and puts another in its place; gives when it was killed, unix ms."""
        lease_s = self._options.lease_ms / 1000
        time.sleep(SETTLE_LEASES * lease_s)
        victim = crew.engines[number % ENGINES]
        killed_ms = time.time_ns() // 1_000_000
        victim.kill()
        time.sleep(RECOVER_LEASES * lease_s + RECOVER_S)
        crew.replace(victim)
        return killed_ms
