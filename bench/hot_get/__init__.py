"""Requests a second for one hot object: nginx serving a file against a server answering from memory.

`compare` takes any peers; `python -m bench.hot_get` compares what is in `peers.ROSTER`. Only ratios taken
side by side mean something: peers take turns within every round.
"""

from bench.hot_get.peers import Peer, nginx, service
from bench.hot_get.turns import Comparison, compare

__all__ = ["Comparison", "Peer", "compare", "nginx", "service"]
