"""A wrong setting of a bucket is one clear line, and no line shows a secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.test_s3_uploads import environment
from tests.s3_servers import new_bucket, plain_client
from thermocline.domain.units import Seconds
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.processes import free_port

pytestmark = pytest.mark.server

PREFIX = "THERMOCLINE_OBJECTS__MAIN__"


@pytest.fixture(scope="module")
def reader(ceph: CephServer) -> tuple[str, str]:
    keys = ("reader-key", "reader-secret-that-nobody-may-see")
    ceph.add_user("reader", access_key=keys[0], secret_key=keys[1])
    return keys


def run(tmp_path: Path, settings: dict[str, str], *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "thermocline", *command, "--data", str(tmp_path / "data")],
        env={**os.environ, **settings}, capture_output=True, check=False, timeout=120, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"BUCKET": "not-there"}, "[objects.main] bucket = 'not-there' does not exist"),
        ({"BUCKET": "X_"}, "[objects.main] bucket = 'X_'"),
        ({"ACCESS_KEY_ID": "nobody"}, "[objects.main] access_key_id is not known"),
        ({"SECRET_ACCESS_KEY": "not-the-secret"}, "[objects.main] secret_access_key does not belong to access_key_id"),
        ({"ENDPOINT": "http://127.0.0.1:PORT"}, "does not answer; check endpoint and the network"),
        ({"ENDPOINT": "ftp://x"}, "objects.main.endpoint: must be like https://host"),
        ({"DIALECT": "r2"}, "storage_class"),
        ({"SECRET_ACCESS_KEY": ""}, "access_key_id and secret_access_key belong together"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    tmp_path: Path, ceph: CephServer, changes: dict[str, str], told: str
) -> None:
    settings = environment(ceph, new_bucket(ceph))
    settings |= {PREFIX + key: value.replace("PORT", str(free_port())) for key, value in changes.items()}
    if "DIALECT" in changes:
        settings["THERMOCLINE_PLACEMENTS__ARCHIVE__STORAGE_CLASS"] = "GLACIER"
    code, output = run(tmp_path, settings, "ls")
    assert code != 0
    assert told in output
    assert len(output.strip().splitlines()) == 1, output
    assert "Traceback" not in output
    assert settings[PREFIX + "SECRET_ACCESS_KEY"] not in output or not changes.get("SECRET_ACCESS_KEY", "x")


def test_a_bucket_that_can_only_be_read_is_told(tmp_path: Path, ceph: CephServer, reader: tuple[str, str]) -> None:
    bucket = new_bucket(ceph)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
    plain_client(ceph).put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    settings = environment(ceph, bucket) | {
        PREFIX + "ACCESS_KEY_ID": reader[0],
        PREFIX + "SECRET_ACCESS_KEY": reader[1],
    }
    code, output = run(tmp_path, settings, "ls")
    assert code != 0
    assert "access denied; give the credentials the right to read, write, list and delete" in output
    assert reader[1] not in output


def test_two_installations_do_not_share_a_bucket(tmp_path: Path, ceph: CephServer) -> None:
    settings = environment(ceph, new_bucket(ceph))
    assert run(tmp_path / "one", settings, "ls")[0] == 0
    code, output = run(tmp_path / "two", settings, "ls")
    assert code != 0
    assert "belongs to installation" in output
    assert len(output.strip().splitlines()) == 1, output


def test_secrets_are_read_from_files_and_shown_nowhere(tmp_path: Path, ceph: CephServer) -> None:
    settings = environment(ceph, new_bucket(ceph))
    secret = settings.pop(PREFIX + "SECRET_ACCESS_KEY")
    (tmp_path / "secret").write_text(secret + "\n")
    settings[PREFIX + "SECRET_ACCESS_KEY__FILE"] = str(tmp_path / "secret")
    for command in (["doctor"], ["config", "--effective"], ["config", "--effective", "--json"]):
        _, output = run(tmp_path, settings, *command)
        assert secret not in output
        assert "Traceback" not in output, output
    code, output = run(tmp_path, settings, "doctor")
    assert code == 0, output
    assert output.count("put, head, fetch, copy and delete work") == 2, output
    assert "agrees with object store 'main'" in output


@pytest.mark.parametrize("command", ["serve", "ls", "doctor"])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"REGION": "eu-west-1"}, "[objects.main] region = 'eu-west-1' is not where bucket"),
        ({"ACCESS_KEY_ID": "nobody"}, "[objects.main] access_key_id is not known"),
        ({"SECRET_ACCESS_KEY": "not-the-secret"}, "[objects.main] secret_access_key does not belong to access_key_id"),
    ],
)
def test_a_store_that_looks_at_the_region_is_told_of_in_one_line(
    tmp_path: Path, glacier: GlacierServer, command: str, changes: dict[str, str], told: str
) -> None:
    settings = at_glacier(glacier) | {PREFIX + key: value for key, value in changes.items()}
    arguments = [command, "--port", str(free_port())] if command == "serve" else [command]
    code, output = run(tmp_path, settings, *arguments)
    assert code != 0
    (line,) = [line for line in output.splitlines() if "[objects.main]" in line]
    assert told in line
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1 or command == "doctor", output
    assert settings[PREFIX + "SECRET_ACCESS_KEY"] not in output


def test_a_clock_that_is_wrong_is_told_of_in_one_line(tmp_path: Path, glacier: GlacierServer) -> None:
    settings = at_glacier(glacier)
    glacier.set_skew(Seconds(901.0))
    try:
        code, output = run(tmp_path, settings, "ls")
    finally:
        glacier.set_skew(Seconds(0.0))
    assert code != 0
    assert "[objects.main] the clock of this machine and that of" in output
    assert len(output.strip().splitlines()) == 1, output
    assert run(tmp_path, settings, "ls")[0] == 0


def at_glacier(glacier: GlacierServer) -> dict[str, str]:
    """Return settings of a bucket of the server that checks signatures as AWS does."""
    return environment(glacier, new_bucket(glacier)) | {PREFIX + "DIALECT": "aws"}
