"""Peers taking turns, and what the ratios between them are worth."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from bench.hot_get import load
from bench.hot_get.peers import SIZES, Peer

_WARM_UP_SECONDS = 1


@dataclass(frozen=True)
class Comparison:
    """One peer at one size, against the fastest yardstick of the same round."""

    peer: str
    size_bytes: int
    requests_per_second: float
    cpu_microseconds_per_request: float
    ratio: float
    ratio_low: float
    ratio_high: float


def compare(
    roster: Mapping[str, Callable[[], AbstractContextManager[Peer]]],
    *,
    is_yardstick: Callable[[str], bool],
    rounds: int = 5,
    seconds: int = 3,
    sizes: Sequence[int] = SIZES,
) -> list[Comparison]:
    """Return medians over the rounds; the ratio's spread is its lowest and highest round."""
    found: list[Comparison] = []
    with ExitStack() as stack:
        peers = {name: stack.enter_context(start()) for name, start in roster.items()}
        for size in sizes:
            for peer in peers.values():
                load.run(f"{peer.base_url}{size}", peer.pids, _WARM_UP_SECONDS, token=peer.token)
            turns = [
                {
                    name: load.run(f"{peer.base_url}{size}", peer.pids, seconds, token=peer.token)
                    for name, peer in peers.items()
                }
                for _ in range(rounds)
            ]
            yardsticks = [
                max(done.requests_per_second for name, done in turn.items() if is_yardstick(name)) for turn in turns
            ]
            found += [_comparison(name, size, [turn[name] for turn in turns], yardsticks) for name in peers]
    return found


def _comparison(name: str, size: int, loads: Sequence[load.Load], yardsticks: Sequence[float]) -> Comparison:
    ratios = [done.requests_per_second / best for done, best in zip(loads, yardsticks, strict=True)]
    return Comparison(
        peer=name,
        size_bytes=size,
        requests_per_second=statistics.median(done.requests_per_second for done in loads),
        cpu_microseconds_per_request=statistics.median(done.cpu_microseconds_per_request for done in loads),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
    )
