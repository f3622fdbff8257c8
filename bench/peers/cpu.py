"""The processor time of a process with all that it has started: a peer's worker may be several.

Read where Linux shows it; elsewhere it is not known.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

PROCESSES = Path("/proc")


def cpu_s(pid: int) -> float | None:
    """Of a process, those below it, and those that they have waited for. To a hundredth of a second."""
    if not (PROCESSES / "self" / "stat").exists():
        return None
    ticks: dict[int, int] = {}
    below: defaultdict[int, list[int]] = defaultdict(list)
    for folder in PROCESSES.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it has ended
            continue
        # The name before it, in brackets, may hold anything. See proc(5): 4 is the parent, 14 to 17 times.
        rest = stat.rpartition(")")[2].split()
        ticks[int(folder.name)] = sum(map(int, rest[11:15]))
        below[int(rest[1])].append(int(folder.name))
    found, looked_at = 0, [pid]
    while looked_at:
        process = looked_at.pop()
        found += ticks.get(process, 0)
        looked_at += below[process]
    return found / os.sysconf("SC_CLK_TCK")
