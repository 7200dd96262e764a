"""`plan`: figures that somebody else can reckon, nothing dropped in silence, plain words for what is wrong."""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.economics.naive import MONTH, Rules, bill_object, storage_a_day
from tests.interfaces.cli.commandline import CommandLine
from tests.inventories import DAY, TODAY, Bucket, Row, draw_bucket, s3_line, write_inventory, write_logs
from thermocline.economics.price_books import shipped
from thermocline.economics.rules import RULES

PRICED = {"STANDARD": "s3.standard", "STANDARD_IA": "s3.standard_ia", "GLACIER_IR": "s3.glacier_ir"}


@pytest.fixture
def bucket() -> Bucket:
    return draw_bucket(11, objects=40)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the machine have no credentials of AWS, and not be asked for its role."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def _plan(cli: CommandLine, home: Path, bucket: Bucket, *more: str, form: str = "CSV") -> list[str]:
    inventory = write_inventory(home / "inventory", bucket.rows, form=form)
    return [
        "plan",
        "s3://media",
        "--inventory",
        str(inventory),
        "--logs",
        str(write_logs(home / "logs", bucket)),
        *more,
    ]


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
@pytest.mark.parametrize("split", [0.0, 0.5])
def test_somebody_else_can_reckon_it(cli: CommandLine, tmp_path: Path, bucket: Bucket, form: str, split: float) -> None:
    told = cli.ok(*_plan(cli, tmp_path, bucket, "--split", str(split), "--json", form=form)).json()
    prices = shipped()
    days: dict[str, set[int]] = defaultdict(set)
    times: dict[str, int] = defaultdict(int)
    for key, second in bucket.reads:
        days[key].add(second // DAY - (TODAY - 80))
        times[key] += 1
    start = int(80 * split)
    staying, month = 0.0, 0.0
    for row in bucket.rows:
        each = prices[PRICED[row.storage_class]]
        month += storage_a_day(each, row.size) * MONTH
        month += times[row.key] / (80 / MONTH) * (each.value("get") / 1000 + each.value("retrieval") * row.size / 1e9)
        first = min([row.modified // DAY - (TODAY - 80), *days[row.key]])
        if first < 80:
            last = max((day for day in days[row.key] if day < start), default=first)
            staying += bill_object(Rules([each]), row.size, days[row.key], {}, max(first, start), 80, last)
    assert told["usd_month"] == pytest.approx(month)
    assert sum(each["usd_month"] for each in told["bill"]) == pytest.approx(month)
    assert told["policies"]["stay"]["usd"] == pytest.approx(staying)
    assert set(told["policies"]) == set(RULES)
    for name, policy in told["policies"].items():
        assert sum(policy["parts"].values()) == pytest.approx(policy["usd"])
        assert policy["ratio"] == pytest.approx(policy["usd"] / told["optimum_usd"])
        assert policy["net_usd"] == pytest.approx(staying - policy["usd"])
        assert name == "stay" or policy["moves"] == sum(policy["reasons"].values())
    assert (told["first_day"], told["split_day"], told["last_day"]) == (
        "2025-08-20",
        ["2025-08-20", "2025-09-29"][split > 0],
        "2025-11-07",
    )
    assert (told["inventory_day"], told["accesses"]) == ("2025-11-08", len(bucket.reads))
    assert told["left_out"]["unknown_reads"] == 0
    assert not cli.data.exists(), "no store is opened"


def test_what_does_not_count_is_told_with_its_reason(cli: CommandLine, tmp_path: Path, bucket: Bucket) -> None:
    first = bucket.rows[0]
    more = [
        Row("old", 10**9, 5 * DAY, is_latest=False),
        Row("gone", 0, 5 * DAY, is_marker=True),
        Row("x", 1, 5 * DAY, bucket="other"),
        Row("ice", 10**9, 5 * DAY, "GLACIER"),
        Row("snow", 10**9, 5 * DAY, "SNOW"),
        Row("new", 10**9, TODAY * DAY),
        Row(first.key, first.size, first.modified, first.storage_class),
    ]
    arguments = _plan(cli, tmp_path, Bucket([*bucket.rows, *more], bucket.reads))
    extra = [s3_line("never/was", TODAY * DAY - 5, 1), s3_line("a", DAY, 1, bucket="other"), "junk"]
    extra.append(s3_line("ice", TODAY * DAY - 5, 1, operation="REST.PUT.OBJECT"))
    (tmp_path / "logs" / "z").write_text("\n".join(extra))
    (tmp_path / "logs" / "zz").write_text("")
    told = cli.ok(*arguments, "--json").json()
    left = told["left_out"]
    # The objects that were drawn for the day of the inventory are as late as `new`.
    late = sum(row.modified // DAY >= TODAY and row.key not in {key for key, _ in bucket.reads} for row in bucket.rows)
    assert left == {
        "delete_markers": 1, "noncurrent_versions": 1, "rows_elsewhere": 1, "duplicate_keys": 1, "unpriced_objects": 1,
        "objects_in_other_classes": 2, "objects_written_later": 1 + late, "unknown_names": 1, "unknown_reads": 1,
        "log_lines_no_reads": 1, "log_lines_other_buckets": 1, "log_lines_unreadable": 1, "empty_log_files": 1,
    }  # fmt: skip
    assert [each["class"] for each in told["noncurrent"]] == ["s3.standard"]
    assert {each["class"]: each["usd_month"] for each in told["bill"]}["SNOW"] is None
    assert told["objects"] == 40 - late
    out = cli.ok(*arguments).out
    for words in (
        "note: 1 objects are noncurrent versions",
        "note: 1 delete markers",
        "note: 1 rows of the inventory are not of s3://media/",
        "note: 1 rows of the inventory have a key that stands above",
        "note: 1 objects (1.0 GB) are SNOW, which has no price here",
        "note: 1 objects (1.0 GB) stay in s3.glacier; name it in --classes",
        f"note: {1 + late} objects were written after the last read",
        "note: 1 reads of 1 names that the inventory does not list",
        "note: 1 log lines are no storage reads",
        "note: 1 log lines are of other buckets",
        "note: 1 log lines could not be read",
        "note: 1 of 5 log files are empty",
    ):
        assert words in out
    assert out.splitlines()[-1].startswith("prices not verified in the vendor's page: s3.standard (put, get)")
    moved = cli.ok(*arguments, "--json", "--classes", "s3.standard,s3.glacier").json()
    assert moved["classes"] == ["s3.standard", "s3.glacier"]


def test_a_part_of_the_bucket_is_a_plan_of_its_own(cli: CommandLine, tmp_path: Path, bucket: Bucket) -> None:
    arguments = _plan(cli, tmp_path, bucket, "--json")
    arguments[1] = "s3://media/photos/0"
    told = cli.ok(*arguments).json()
    inside = [row for row in bucket.rows if row.key.startswith("photos/0/")]
    assert sum(each["objects"] for each in told["bill"]) == len(inside)
    assert told["left_out"]["rows_elsewhere"] == len(bucket.rows) - len(inside)
    outside = [key for key, _ in bucket.reads if not key.startswith("photos/0/")]
    assert told["left_out"]["unknown_reads"] == len(outside)


def test_from_files_it_needs_no_settings(
    cli: CommandLine, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.toml").write_text("[[")
    monkeypatch.setenv("THERMOCLINE_CONFIG", str(tmp_path / "broken.toml"))
    arguments = _plan(cli, tmp_path, bucket, "--policies", "idle")
    assert "s3://media/" in cli.ok(*arguments).out
    arguments[arguments.index("--inventory") + 1] = "s3://lists/manifest.json"
    assert "broken.toml" in cli.run(*arguments).err


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "and AWS has no credentials here; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
        ({"AWS_PROFILE": "nobody"}, "the environment of AWS is of no use: The config profile (nobody)"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "the environment of AWS is of no use: Partial credentials found in env"),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "here"},
            "AWS_ENDPOINT_URL = 'here' is not like https://host",
        ),
    ],
)
def test_what_aws_lacks_is_said(
    cli: CommandLine, no_aws: None, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused = cli.run("plan", "s3://media", "--inventory", "s3://lists/manifest.json")
    assert told in refused.err
    assert refused.err.count("\n") == 1


def test_without_logs_it_is_a_guess_and_says_so(cli: CommandLine, tmp_path: Path, bucket: Bucket) -> None:
    arguments = ["plan", "s3://media", "--inventory", str(write_inventory(tmp_path / "i", bucket.rows))]
    out = cli.ok(*arguments).out
    assert "without logs this is a guess, by age alone" in out
    assert "x optimum" not in out
    told = cli.ok(*arguments, "--json").json()
    assert "policies" not in told
    assert [each["age_days"] for each in told["guesses"]] == [0, 30, 90, 180, 365]
    for each in told["guesses"]:
        assert each["saved_usd_month"] >= 0
        assert each["payback_months"] is None or each["payback_months"] <= 12
    refused = cli.run(*arguments, "--report", str(tmp_path / "r.html"))
    assert (refused.code, "add the access logs with --logs" in refused.err) == (2, True)
    assert not (tmp_path / "r.html").exists()


def test_the_report_has_the_bill_and_what_is_saved(cli: CommandLine, tmp_path: Path, bucket: Bucket) -> None:
    nasty = Row("<script>alert(1)</script>", 10**9, 5 * DAY, "<b>SNOW</b>")
    arguments = _plan(cli, tmp_path, Bucket([*bucket.rows, nasty], bucket.reads))
    page = tmp_path / "plan.html"
    out = cli.ok(*arguments, "--report", str(page)).out
    assert out == cli.ok(*arguments).out
    text = page.read_text()
    assert "What tiering would save: s3://media/" in text
    for words in (
        "Today&#39;s bill",
        "What is saved",
        "Where each policy loses",
        "1 objects (1.0 GB) are &lt;b&gt;SNOW",
    ):
        assert words in text
    assert "<b>" not in text
    refused = cli.run(*arguments, "--report", str(tmp_path / "no" / "plan.html"))
    assert (refused.code, "cannot be written" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": "media"}, "not a bucket: 'media' (write it as s3://BUCKET"),
        ({"source": "s3://"}, "not a bucket: 's3://'"),
        ({"source": "s3://other"}, "the inventory is of the bucket 'media', not of 'other'"),
        ({"source": "s3://media/none"}, "the inventory lists nothing under s3://media/none/"),
        ({"--inventory": "none.json"}, "'none.json' cannot be read"),
        ({"--inventory": "s3://lists/manifest.json"}, "no object store of the settings is the bucket 'lists'"),
        ({"--inventory": "s3:///manifest.json"}, "not a bucket: 's3:///manifest.json' (write it as s3://BUCKET/KEY"),
        ({"--logs": "none"}, "'none' cannot be read"),
        ({"--logs": "s3://lists/logs"}, "no object store of the settings is the bucket 'lists'"),
        ({"--split": "1"}, "a split is at least 0 and below 1"),
        ({"--policies": "lru"}, "no policy 'lru'"),
        ({"--classes": "s3.cellar"}, "no prices for 's3.cellar'"),
        ({"--classes": "b2"}, "no object is left to be moved: 40 lie in other classes"),
        ({"--delayed-read": "-1"}, "not negative"),
    ],
)
def test_what_is_wrong_is_one_line(
    cli: CommandLine, tmp_path: Path, bucket: Bucket, no_aws: None, change: dict[str, str], told: str
) -> None:
    arguments = _plan(cli, tmp_path, bucket)
    for name, value in change.items():
        if name == "source":
            arguments[1] = value
        elif name in arguments:
            arguments[arguments.index(name) + 1] = value
        else:
            arguments += [name, value]
    outcome = cli.run(*arguments)
    assert outcome.code in {1, 2}
    assert told in outcome.err
    assert (outcome.err.count("\n"), outcome.out) == (1, "")
    as_json: Any = json.loads(cli.run(*arguments, "--json").err)
    assert as_json["exit_code"] == outcome.code
