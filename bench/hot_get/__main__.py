"""Prints the comparison as a table."""

import argparse

from bench.hot_get.peers import ROSTER, SIZES
from bench.hot_get.turns import compare


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hot_get", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="for each peer and round")
    parser.add_argument("--size", type=int, action="append", choices=SIZES, help="in bytes; all by default")
    options = parser.parse_args()
    print(f"{'peer':26} {'size':>8} {'req/s':>9} {'CPU µs':>7} {'ratio':>6}  spread")
    for row in compare(
        ROSTER,
        is_yardstick=lambda name: name.startswith("nginx"),
        rounds=options.rounds,
        seconds=options.seconds,
        sizes=options.size or SIZES,
    ):
        print(
            f"{row.peer:26} {row.size_bytes:8} {row.requests_per_second:9.0f} "
            f"{row.cpu_microseconds_per_request:7.1f} {row.ratio:6.2f}  {row.ratio_low:.2f}-{row.ratio_high:.2f}"
        )


if __name__ == "__main__":
    main()
