"""What `python -m bench` takes, read and checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bench.compare import MARGIN
from bench.measures import MEASURES
from bench.options import Layout, Options, Tell
from bench.server import Aof, Servers
from bench.workloads import WORKLOADS

RUNS = 3
"""The least that a median with least and most is worth."""
FAR_MS = 2.0
"""The distance of a full run."""
FULL_KEPT = (1_000, 10_000, 100_000)
USUAL_KEPT = (1_000, 10_000)
"""W9: without --full the longest series, which takes minutes, is left out."""
EPILOG = (
    "`python -m bench compare OLD.json [NEW.json]` compares ratios with those of a run that was recorded;"
    " `python -m bench report RUN.json DIR` makes the page of a run again."
)


def run_parser(description: str | None) -> argparse.ArgumentParser:
    """Of `python -m bench WORKLOAD...`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=description, epilog=EPILOG)
    names = "; ".join(f"{name}: {measure.work}" for name, measure in MEASURES.items())
    parser.add_argument("workloads", nargs="*", type=_workload, metavar="WORKLOAD", help=names)
    parser.add_argument(
        "--full",
        action="store_true",
        help="all workloads, one process each; W0 to W4 also with AOF always and 2 ms away",
    )
    parser.add_argument("--peers", nargs="?", const="all", type=_peers, default=[], metavar="NAME,...",
                        help="other systems on W0 to W3, in turn with ours (default: all)")  # fmt: skip
    parser.add_argument("--flows", type=_count, help="flows started at once (default: the workload's own)")
    parser.add_argument("--runs", type=_count, default=RUNS, help=f"runs of each workload (default {RUNS})")
    parser.add_argument("--redis", type=_url, metavar="URL",
                        help="measure on this server, in namespaces that are removed again")  # fmt: skip
    parser.add_argument("--aof", type=_modes, metavar="MODE,...",
                        help="append-only file of the bench's own server: off, everysec, always"
                             " (default everysec); several are measured in turn")  # fmt: skip
    parser.add_argument("--rtt-ms", type=_distances, metavar="MS,...",
                        help="added to each round trip to the server (default 0)")  # fmt: skip
    parser.add_argument("--in-process", action="store_true",
                        help="only rows of one process, engine and client in one")  # fmt: skip
    parser.add_argument("--profile", action="store_true",
                        help="say where the engine's time goes, instead of figures")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--report", type=Path, metavar="DIR",
                        help="write a page with charts, the targets and the JSON there, too")  # fmt: skip
    _add_sizes(parser)
    return parser


def compare_parser() -> argparse.ArgumentParser:
    """Of `python -m bench compare`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench compare",
        description="Compares ratios and counts with those of a run that was recorded; exit status 1 when"
        " one has become worse. Without NEW it runs; arguments after -- are those of the run"
        " (default: --full).",
    )
    parser.add_argument("old", nargs="?", type=Path, metavar="OLD.json",
                        help="default: the last one in docs/performance")  # fmt: skip
    parser.add_argument("new", nargs="?", type=Path, metavar="NEW.json")
    parser.add_argument("--margin", type=float, default=MARGIN,
                        help=f"how much worse is bad news (default {MARGIN}: a quarter)")  # fmt: skip
    return parser


def report_parser() -> argparse.ArgumentParser:
    """Of `python -m bench report`."""
    parser = argparse.ArgumentParser(prog="python -m bench report", description="Makes the page of a run.")
    parser.add_argument("run", type=Path, metavar="RUN.json")
    parser.add_argument("directory", type=Path, metavar="DIR")
    return parser


def read_run(parser: argparse.ArgumentParser, given: Sequence[str]) -> argparse.Namespace:
    """Reads and checks; ends the process where something is wrong."""
    asked = parser.parse_args(given)
    if asked.full:
        asked.workloads = asked.workloads or list(MEASURES)
        asked.in_process = True
    if not asked.workloads:
        parser.error(f"name a workload ({', '.join(MEASURES)}), or use --full")
    if asked.redis is not None and (asked.aof is not None or asked.full):
        parser.error("--aof sets the bench's own server; a server given with --redis keeps its mode")
    if asked.redis is not None and asked.peers:
        parser.error("peers leave keys behind, so they need a server of the bench's own: leave out --redis")
    in_memory = asked.redis is not None and asked.redis.startswith("memory://")
    served = [name for name in asked.workloads if MEASURES[name].needs_server]
    if in_memory and (served or asked.peers or asked.rtt_ms):
        parser.error(
            f"{', '.join(served) or 'peers and distance'} need a server: leave out --redis memory://"
        )
    if asked.profile and (unlike := [name for name in asked.workloads if name not in WORKLOADS]):
        parser.error(f"--profile is for {', '.join(WORKLOADS)}, not for {', '.join(unlike)}")
    return asked


def places_of(asked: argparse.Namespace) -> list[Servers]:
    """All circumstances, the usual ones first."""
    if asked.full and asked.aof is None and asked.rtt_ms is None:
        pairs = [(0.0, Aof.EVERYSEC), (0.0, Aof.ALWAYS), (FAR_MS, Aof.EVERYSEC)]
    else:
        pairs = list(product(asked.rtt_ms or [0.0], asked.aof or [Aof.EVERYSEC]))
    return [Servers(asked.redis, aof, rtt_ms=rtt_ms) for rtt_ms, aof in pairs]


def options_of(asked: argparse.Namespace, tell: Tell) -> Options:
    """The sizes."""
    in_memory = asked.redis is not None and asked.redis.startswith("memory://")
    is_one = asked.in_process or in_memory
    kept = asked.kept or (FULL_KEPT if asked.full else USUAL_KEPT)
    sizes = {name: getattr(asked, name) for name, *_ in _SIZES if name != "kept"}
    return Options(
        layouts=(Layout.ONE,) if is_one else tuple(Layout),
        flows=asked.flows,
        tell=tell,
        kept=kept,
        **{name: size for name, size in sizes.items() if size is not None},
    )


# ------------------------------------------------------------------------- reading


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sizes of W5 to W9")
    for name, metavar, read, words in _SIZES:
        group.add_argument(f"--{name.replace('_', '-')}", type=read, metavar=metavar, help=words)


def _workload(text: str) -> str:
    if text not in MEASURES:
        raise argparse.ArgumentTypeError(f"{text} is no workload, use {', '.join(MEASURES)}")
    return text


def _url(text: str) -> str:
    if not text.startswith(("redis://", "unix://", "memory://")):
        raise argparse.ArgumentTypeError("use redis://HOST:PORT/DB, unix:///PATH or memory://")
    return text


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is not possible, use 1 or more")
    return count


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(word) for word in text.split(","))


def _modes(text: str) -> list[Aof]:
    try:
        return [Aof(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, use {', '.join(Aof)}") from None


def _distances(text: str) -> list[float]:
    distances = [float(word) for word in text.split(",")]
    if any(distance < 0 for distance in distances):
        raise argparse.ArgumentTypeError("a distance below 0 is not possible")
    return distances


def _peers(text: str) -> list[str]:
    from bench.peers import PEERS

    names = list(PEERS) if text == "all" else text.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is not known, use {', '.join(PEERS)}")
    return names


_SIZES: Sequence[tuple[str, str, Callable[[str], Any], str]] = (
    ("hot_items", "N", _count, "W5: items of the flow"),
    ("hot_parallelism", "N", _count, "W5: items that may run at a time"),
    ("hot_completions", "N", _count, "W5: completions from outside"),
    ("engine_counts", "N,...", _counts, "W6: engines; W5 has the most of them"),
    ("scale_slots", "N,...", _counts, "W6: slots an engine"),
    ("kills", "N", _count, "W7: engines killed in a run"),
    ("lease_ms", "MS", _count, "W7: the engines' lease"),
    ("supply", "N", _count, "W7: flows on their way"),
    ("idle_flows", "N", _count, "W8: flows kept"),
    ("idle_s", "S", float, "W8: how long to look"),
    ("kept", "N,...", _counts, "W9: flows kept"),
    ("kept_step", "N", _count, "W9: flows measured beside them"),
    ("item_counts", "N,...", _counts, "W9: items of a flow"),
    ("plan_sizes", "N,...", _counts, "W9: steps of a plan"),
)
"""Fields of `Options` that can be given, and how each is read."""
