"""`simulate`: the figures that the design asks for, moves that anyone can cost, and plain words for what is wrong."""

import csv
import json
from pathlib import Path

import pytest

from tests.economics.naive import Rules, bill_object
from tests.interfaces.cli.commandline import CommandLine
from thermocline.economics.figures import ClassPrices
from thermocline.economics.price_books import shipped
from thermocline.economics.rules import RULES

DAY = 86_400
FIRST = 1_600_000_000 // DAY


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Twenty objects of 300 days: read daily, weekly, twice, once; some appear late."""
    path = tmp_path / "trace.csv"
    rows = [
        (FIRST + day, number)
        for number in range(20)
        for day in range(number * 7, 300)
        if day == number * 7 or day % (number % 4 * 25 + 1) == 0
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("ts", "obj", "size"), *((day * DAY + 5000, f"o, {number}", 10**7 * (number + 1)) for day, number in rows)]
        )
    return path


def test_it_answers_what_the_design_asks(cli: CommandLine, trace: Path) -> None:
    told = cli.ok("simulate", str(trace), "--json").json()
    assert told["objects"] == 20
    assert set(told["policies"]) == set(RULES)
    for policy in told["policies"].values():
        assert policy["ratio"] == pytest.approx(policy["usd"] / told["optimum_usd"])
        assert sum(policy["parts"].values()) == pytest.approx(policy["usd"])
        assert sum(policy["reasons"].values()) == policy["moves"]
    assert told["classes"] == ["s3.standard", "s3.standard_ia", "s3.glacier_ir"]
    assert (told["sizes"], told["prices"], told["notes"][0].split()[1]) == ("trace", "s3", "accesses")
    assert {each["figure"] for each in told["unverified_prices"]} >= {"get", "put", "transition", "monitoring"}
    assert not cli.data.exists(), "no store is opened"


@pytest.mark.parametrize("book", ["s3", "r2", "gcs"])
@pytest.mark.parametrize("split", [0.0, 0.5])
def test_somebody_else_can_cost_the_timeline(
    cli: CommandLine, trace: Path, tmp_path: Path, book: str, split: float
) -> None:
    """Read the trace and the moves as files, cost them object by object: the same bill."""
    out = tmp_path / "moves.csv"
    told = cli.ok(
        "simulate", str(trace), "--prices", book, "--split", str(split), "--timeline", str(out), "--json"
    ).json()
    reads: dict[str, set[int]] = {}
    sizes: dict[str, int] = {}
    with trace.open(newline="") as file:
        for row in csv.DictReader(file):
            reads.setdefault(row["obj"], set()).add(int(row["ts"]) // DAY - FIRST)
            sizes[row["obj"]] = int(row["size"])
    with out.open(newline="") as file:
        moves = list(csv.DictReader(file))
    assert list(moves[0]) == ["policy", "obj", "ts", "class"]
    names = [*told["classes"], *(["s3.intelligent"] if book == "s3" else [])]
    classes: list[ClassPrices] = [shipped()[name] for name in names]
    start = int(300 * split)
    for policy, figures in told["policies"].items():
        mine = [move for move in moves if move["policy"] == policy]
        assert len(mine) == figures["moves"]
        assert all(int(move["ts"]) % DAY == 0 for move in mine)
        usd = 0.0
        for obj, days in reads.items():
            own = {int(move["ts"]) // DAY - FIRST: names.index(move["class"]) for move in mine if move["obj"] == obj}
            last = max((day for day in days if day < start), default=min(days))
            usd += bill_object(Rules(classes), sizes[obj], days, own, max(min(days), start), 300, last)
        assert usd == pytest.approx(figures["usd"])


def test_the_table_is_for_people(cli: CommandLine, trace: Path) -> None:
    out = cli.ok("simulate", str(trace), "--prices", "r2", "--policies", "idle,stay").out.splitlines()
    assert out[0].endswith("2.1 GB (sizes of the trace)")
    assert out[1] == "paid from 2021-02-10 to 2021-07-09, in r2.standard, r2.infrequent"
    assert out[3].split()[:4] == ["policy", "USD", "x", "optimum"]
    assert out[4].split()[0] == "optimum"
    assert {line.split()[0] for line in out[5:7]} == {"idle", "stay"}
    assert out[-1].startswith("prices not verified in the vendor's page: r2.standard (retrieval); r2.infrequent (")


def test_the_plot_shows_where_it_costs(cli: CommandLine, trace: Path) -> None:
    out = cli.ok("simulate", str(trace), "--policies", "stay").out.splitlines()
    plot = out[out.index("") + 5 :]
    assert plot[0].startswith("over time  full: ")
    name, bars = plot[2].split()
    assert (name, len(bars)) == ("stay", 12)
    assert set(bars) <= set("▁▂▃▄▅▆▇█")
    assert list(bars) == sorted(bars), "objects only become more"


def test_own_prices_change_the_bill_and_are_not_told_as_unverified(cli: CommandLine, trace: Path) -> None:
    before = cli.ok("simulate", str(trace), "--prices", "r2", "--policies", "stay", "--json").json()
    after = cli.ok(
        "simulate", str(trace), "--prices", "r2", "--policies", "stay", "--json",
        "--price", "r2.standard.storage=0.03", "--price", "r2.standard.retrieval=0",
    ).json()  # fmt: skip
    parts = (before["policies"]["stay"]["parts"], after["policies"]["stay"]["parts"])
    assert parts[1]["storage"] == pytest.approx(2 * parts[0]["storage"])
    assert {(each["class"], each["figure"]) for each in before["unverified_prices"]} - {
        (each["class"], each["figure"]) for each in after["unverified_prices"]
    } == {("r2.standard", "retrieval")}


def test_sizes_are_drawn_where_there_are_none_and_it_says_so(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("ts,obj\n" + "".join(f"{day * DAY},o{day % 9}\n" for day in range(50)))
    assert cli.ok("simulate", str(path), "--json").json()["sizes"] == "lognormal:4MB:1.8:1"
    drawn = cli.ok("simulate", str(path), "--json", "--sizes", "lognormal:20KB:0.5:3").json()
    assert (drawn["sizes"], drawn["bytes"] < 10**6) == ("lognormal:20KB:0.5:3", True)
    refused = cli.run("simulate", str(path), "--sizes", "trace")
    assert (refused.code, "the trace has no sizes (draw them with" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prices", "ibm"], "no price book 'ibm'"),
        (["--classes", "r2.glacier"], "no prices for 'r2.glacier'"),
        (["--classes", "s3.standard,s3.standard"], "named twice"),
        (["--policies", "lru"], "no policy 'lru'"),
        (["--split", "1"], "a split is at least 0 and below 1"),
        (["--split", "nan"], "a split is at least 0 and below 1"),
        (["--sizes", "lognormal:4MB"], "not a distribution of sizes"),
        (["--price", "s3.standard.storage=-1"], "s3.standard storage is at least 0"),
        (["--price", "s3.standard.storage=nan"], "s3.standard storage is at least 0"),
        (["--price", "s3.standard.storage"], "not a price"),
        (["--price", "storage=1"], "no prices for ''"),
        (["--price", "s3.standard.colour=1"], "no figure 'colour'"),
        (["--delayed-read", "-1"], "not negative"),
        (["--classes", "s3.standard,s3.glacier", "--delayed-read", "inf"], "s3.glacier does not"),
        (["--classes", "s3.standard,s3.deep_archive", "--restore-speed", "expedited"], "has no expedited restores"),
        (["--restore-speed", "warp"], "no restore speed 'warp'"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_written(
    cli: CommandLine, trace: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    out = tmp_path / "moves.csv"
    outcome = cli.run("simulate", str(trace), "--timeline", str(out), *arguments)
    assert outcome.code == 2
    assert told in outcome.err
    assert outcome.err.count("\n") == 1
    assert not out.exists()


def test_a_trace_that_is_none_and_a_timeline_that_cannot_be_written(
    cli: CommandLine, trace: Path, tmp_path: Path
) -> None:
    assert (cli.run("simulate", str(tmp_path / "none")).code, cli.run("simulate", str(tmp_path)).code) == (1, 1)
    (tmp_path / "bad.csv").write_text("ts,name\n1,a\n")
    outcome = cli.run("simulate", str(tmp_path / "bad.csv"), "--json")
    assert (outcome.code, outcome.error()["error"]) == (2, "invalid-input")
    outcome = cli.run("simulate", str(trace), "--timeline", str(tmp_path / "no" / "moves.csv"))
    assert (outcome.code, "cannot be written" in outcome.err) == (1, True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_older_timeline_is_replaced_whole(cli: CommandLine, trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "moves.csv"
    out.write_text("old")
    cli.ok("simulate", str(trace), "--policies", "stay", "--timeline", str(out))
    assert out.read_text() == "policy,obj,ts,class\n"


def test_a_report_is_written_beside_the_table(cli: CommandLine, trace: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    arguments = ["simulate", str(trace), "--policies", "idle,stay"]
    assert cli.ok(*arguments, "--report", str(page)).out == cli.ok(*arguments).out
    text = page.read_text()
    assert "What tiering would have cost: trace.csv" in text
    assert text.count("<svg") == 3
    page.unlink()
    assert cli.ok(*arguments, "--report", str(page), "--json").json() == cli.ok(*arguments, "--json").json()
    assert page.read_text() == text
    refused = cli.run(*arguments, "--report", str(tmp_path / "no" / "report.html"))
    assert (refused.code, "cannot be written" in refused.err) == (1, True)


def test_json_is_ascii_and_one_line(cli: CommandLine, trace: Path) -> None:
    out = cli.ok("simulate", str(trace), "--json", "--policies", "idle").out
    assert out.isascii()
    assert out.count("\n") == 1
    json.loads(out)
