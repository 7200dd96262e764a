"""`plan` with everything in buckets of a real server: the same as from files, and nothing is written to them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inventories import draw_bucket, write_inventory, write_logs
from tests.s3_servers import new_bucket, plain_client
from thermocline.testing.servers.glacier import GlacierServer

pytestmark = pytest.mark.server


def _plan(tmp_path: Path, settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "thermocline", "plan", "s3://media", *arguments, "--data", str(tmp_path / "data")],
        env=os.environ | settings, capture_output=True, check=False, timeout=120, text=True, cwd=tmp_path,
    )  # fmt: skip


def test_a_plan_from_buckets_is_that_from_files(tmp_path: Path, glacier: GlacierServer) -> None:
    drawn = draw_bucket(4)
    manifest = write_inventory(tmp_path / "inventory", drawn.rows, form="Parquet")
    logs = write_logs(tmp_path / "logs", drawn)
    here = _plan(tmp_path, {}, "--inventory", str(manifest), "--logs", str(logs), "--json")
    assert here.returncode == 0, here.stderr

    bucket, client = new_bucket(glacier), plain_client(glacier)
    for path in (tmp_path / "inventory" / "data").iterdir():
        client.put_object(Bucket=bucket, Key=f"lists/media/daily/data/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket=bucket, Key="lists/media/daily/x/manifest.json", Body=manifest.read_bytes())
    for path in logs.iterdir():
        client.put_object(Bucket=bucket, Key=f"logs/2025/11 é/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket=bucket, Key="logs/", Body=b"")
    before = [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]]
    prefix = "THERMOCLINE_OBJECTS__LISTS__"
    settings = {
        "THERMOCLINE_OBJECTS__MAIN__KIND": "local",
        f"{prefix}KIND": "s3",
        f"{prefix}DIALECT": "aws",
        f"{prefix}BUCKET": bucket,
        f"{prefix}ENDPOINT": glacier.endpoint,
        f"{prefix}REGION": glacier.region,
        f"{prefix}ACCESS_KEY_ID": glacier.access_key,
        f"{prefix}SECRET_ACCESS_KEY": glacier.secret_key,
    }
    place = f"s3://{bucket}/lists/media/daily/x/manifest.json"
    there = _plan(tmp_path, settings, "--inventory", place, "--logs", f"s3://{bucket}/logs/", "--json")
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == before
    assert not (tmp_path / "data").exists(), "no store is opened"

    keys = {"ACCESS_KEY_ID": glacier.access_key, "SECRET_ACCESS_KEY": glacier.secret_key}
    environment = {f"AWS_{name}": value for name, value in keys.items()}
    environment |= {"AWS_DEFAULT_REGION": glacier.region, "AWS_ENDPOINT_URL": glacier.endpoint}
    there = _plan(tmp_path, environment, "--inventory", place, "--logs", f"s3://{bucket}/logs/", "--json")
    assert (there.returncode, json.loads(there.stdout)) == (0, json.loads(here.stdout)), there.stderr
    settings["AWS_EC2_METADATA_DISABLED"] = "true"

    for arguments, told in (
        (("--inventory", f"s3://{bucket}/none.json"), f"there is no object s3://{bucket}/none.json"),
        (("--inventory", place, "--logs", f"s3://{bucket}/none/"), f"there is no object under s3://{bucket}/none/"),
        (("--inventory", "s3://else/manifest.json"), f"is the bucket 'else' (they have: {bucket})"),
    ):
        refused = _plan(tmp_path, settings, *arguments)
        assert (refused.returncode, told in refused.stderr) == (1, True), refused.stderr
        assert refused.stderr.count("\n") == 1
    client.close()
