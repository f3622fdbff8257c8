"""What a gate came to: figures, faults, what is wrong; for people and as JSON."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MAX_SHOWN = 20
"""Lines shown of what is wrong; the JSON has them all."""


@dataclass(slots=True)
class Report:
    """One run of one gate."""

    gate: str
    seed: int
    flows: int
    is_timed: bool = True
    """Whether times count as well: in short forms they do not, as the machine may have much else to do."""
    versions: dict[str, str] = field(default_factory=lambda: {"python": platform.python_version()})
    faults: Counter[str] = field(default_factory=Counter[str])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    wrong: list[str] = field(default_factory=list[str])
    began_s: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def is_passed(self) -> bool:
        return not self.wrong

    @property
    def took_s(self) -> float:
        """Since the gate began."""
        return time.monotonic() - self.began_s

    def require(self, holds: bool, what: str) -> None:
        """Notes what is wrong unless it holds."""
        if not holds:
            self.wrong.append(what)

    def limit(self, seconds: float, most_s: float, what: str) -> None:
        """Notes that something took longer than it may, where times count."""
        if self.is_timed and seconds > most_s:
            self.wrong.append(f"{what} took {seconds:.2f} s, more than {most_s:g} s")

    def figure(self, name: str, value: Any) -> None:
        self.figures[name] = round(value, 3) if isinstance(value, float) else value

    def done(self) -> None:
        self.seconds = round(self.took_s, 1)

    def as_json(self) -> dict[str, Any]:
        return {
            "gate": self.gate,
            "passed": self.is_passed,
            "seed": self.seed,
            "flows": self.flows,
            "seconds": self.seconds,
            "versions": self.versions,
            "faults": dict(self.faults),
            "figures": self.figures,
            "wrong": self.wrong,
        }

    def as_text(self) -> str:
        lines = [f"{self.gate}: {'passed' if self.is_passed else 'FAILED'}"]
        rows = {"seed": self.seed, "versions": _row(self.versions), "faults": _row(self.faults)}
        rows |= self.figures | {"took": f"{self.seconds:.1f} s"}
        width = max(map(len, rows))
        lines += [f"  {name:<{width}}  {_shown(value)}" for name, value in rows.items()]
        lines += [f"  wrong: {what}" for what in self.wrong[:MAX_SHOWN]]
        if len(self.wrong) > MAX_SHOWN:
            lines.append(f"  and {len(self.wrong) - MAX_SHOWN} more")
        return "\n".join(lines)


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _row(counts: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items()) or "none"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return _row(value)
    return json.dumps(value) if isinstance(value, list) else str(value)
