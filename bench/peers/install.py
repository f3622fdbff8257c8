"""Installs peers, each into a folder of its own, in the versions that are pinned."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable

from bench.peers.catalogue import DONE, Peer


class NotInstalled(Exception):
    """An installation failed; the message says why."""


def install(peer: Peer, tell: Callable[[str], None]) -> None:
    """Installs one; what was there before is removed. Raises `NotInstalled`."""
    tell(f"installing {peer.package} {peer.version()} into {peer.home}")
    shutil.rmtree(peer.home, ignore_errors=True)
    peer.home.mkdir(parents=True)
    if peer.is_node:
        _install_node(peer)
    else:
        _carry_out([sys.executable, "-m", "venv", str(peer.home)])
        pip = [str(peer.home / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps"]
        _carry_out([*pip, "--disable-pip-version-check", "-r", str(peer.pins)])
    (peer.home / DONE).write_text(peer.pins.read_text())


def _install_node(peer: Peer) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalled("npm is not on PATH: install Node.js with npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(peer.pins.parent / name, peer.home / name)
    _carry_out([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(peer.home)])


def _carry_out(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotInstalled(f"{command[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled("; ".join(said[-3:]) or f"{command[0]} ended with {done.returncode}")
