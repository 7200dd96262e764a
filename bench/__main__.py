"""Runs the benchmarks and prints a table for each; a missed bar is a finding, not a failure.

The exit code is 0 if every benchmark could run, 1 otherwise.
"""

import argparse
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench import report, scratch
from bench.figures import Table
from bench.plan import Plan
from bench.progress import Progress
from bench.suite import SUITE

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    options = _options()
    began = datetime.now(UTC)
    results: Path = options.results
    progress = Progress()
    tables: list[Table] = []
    failures: dict[str, str] = {}
    for name in dict.fromkeys(options.benchmarks or SUITE):
        progress.begin(name)
        plan = Plan(
            rounds=options.rounds or (2 if options.quick else 7),
            seconds=2 if options.quick else 5,
            quick=options.quick,
            large=options.large,
            scratch=results / "scratch",
            kept=results / "kept",
            tell=progress.tell,
        )
        try:
            with scratch.emptied(plan.scratch):
                table = SUITE[name](plan)
        except Exception as exc:  # noqa: BLE001 - the other benchmarks still run, and this one is reported
            progress.clear()
            traceback.print_exc()
            failures[name] = f"{type(exc).__name__}: {exc}"
        else:
            progress.clear()
            tables.append(table)
            print(report.as_text(table), flush=True)
    for name, failure in failures.items():
        print(f"{name}: COULD NOT RUN: {failure}")
    _write(results, began, tables, failures, options)
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"of {', '.join(SUITE)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few and short rounds, to see that everything runs")
    parser.add_argument("--large", action="store_true", help="also the sizes that take many minutes to make")
    parser.add_argument("--rounds", type=int, help="how often peer and ours take turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument(
        "--results", type=Path, default=_RESULTS, metavar="FOLDER", help="reports, and everything that is measured"
    )
    options = parser.parse_args()
    unknown = [name for name in options.benchmarks if name not in SUITE]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(SUITE)}")
    return options


def _write(
    results: Path, began: datetime, tables: list[Table], failures: dict[str, str], options: argparse.Namespace
) -> None:
    figures = report.as_json(tables, failures, began=began, quick=options.quick)
    base = results / f"{began:%Y%m%dT%H%M%SZ}"
    base.with_suffix(".json").write_text(figures, encoding="utf-8")
    base.with_suffix(".txt").write_text("\n".join(map(report.as_text, tables)), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(figures, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
