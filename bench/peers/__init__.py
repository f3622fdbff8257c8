"""Other systems on the same work, in the same run: `python -m bench W1 --peers`.

Each is set up as its own documentation recommends for work that must not be lost; what was chosen, and the
passage behind it, is in `docs/performance/peers.md`. They are installed by `python -m bench.peers install`
into a folder that git ignores, with pinned versions, and nothing of the product knows of them.
"""

from bench.peers.catalogue import PEERS, Peer
from bench.peers.measure import Ready, ready

__all__ = ["PEERS", "Peer", "Ready", "ready"]
