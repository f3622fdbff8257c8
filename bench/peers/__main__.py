"""`python -m bench.peers install`: gets the peers; `python -m bench.peers`: says which can be measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.peers.catalogue import PEERS
from bench.peers.install import NotInstalled, install


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.do == "install":
        return _install(options.names or list(PEERS))
    for peer in PEERS.values():
        print(f"{peer.name:8} {peer.version():8} {peer.missing() or 'ready'}")
    return 0


def _install(names: Sequence[str]) -> int:
    """Installs what can be installed; gives 1 when something could not."""
    failed = 0
    for name in names:
        try:
            install(PEERS[name], print)
        except NotInstalled as error:
            failed = 1
            print(f"{name} cannot be installed: {error}", file=sys.stderr)
            continue
        if why := PEERS[name].missing():
            print(f"{name}: {why}", file=sys.stderr)
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    commands = parser.add_subparsers(dest="do", metavar="COMMAND")
    commands.add_parser("list", help="say which peers can be measured here (the default)")
    installing = commands.add_parser("install", help="install peers into .bench, in pinned versions")
    installing.add_argument(
        "names", nargs="*", choices=[*PEERS, []], metavar="NAME", help=f"of {', '.join(PEERS)}; default all"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
