"""Whether a cluster can be trusted with a namespace: every master has to be fit."""

from __future__ import annotations

from collections.abc import Mapping

from argyll_redis.store.fitness import APART, NOT_TOLD, Finding, Level, examine, judge, judge_clocks


def findings_of(infos: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Gives what is wrong with the nodes, by what each says of itself: once, with the nodes it is true of."""
    where: dict[Finding, list[str]] = {}
    for address, info in infos.items():
        for finding in judge(info) if info else [Finding(False, NOT_TOLD, "allow it to the user")]:
            where.setdefault(finding, []).append(address)
    found = [
        Finding(finding.is_fatal, f"{finding.what}, at {', '.join(nodes)}", finding.mend)
        for finding, nodes in where.items()
    ]
    return [*found, *judge_clocks(_apart_ms(infos))]


def worst_of(infos: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """What the node says of itself of which there is the most to be said, or else the one with the fewest
    replicas; and how far the clocks of all are apart."""
    worst: Mapping[str, str] = max(infos.values(), key=_weight) if infos else {}
    return {**worst, APART: str(_apart_ms(infos))} if worst else {}


def _weight(info: Mapping[str, str]) -> tuple[int, int, int]:
    levels = [remark.level for remark in examine(info)]
    return levels.count(Level.FAULT), levels.count(Level.WARNING), -int(info.get("connected_slaves", "0"))


def _apart_ms(infos: Mapping[str, Mapping[str, str]]) -> int:
    """How far the clocks of the nodes are apart, asked at nearly the same moment."""
    times = [int(info["server_time_usec"]) // 1000 for info in infos.values() if "server_time_usec" in info]
    return max(times) - min(times) if times else 0
