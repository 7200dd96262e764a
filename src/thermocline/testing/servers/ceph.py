"""Ceph's object gateway (RGW) on one machine: a monitor, one storage daemon that keeps all in memory, the gateway.

What was learnt with Ceph 16.2 (November 2026): `auth = none` hangs, so cephx is on. Pools of one copy need
`mon allow pool size one`. Users and storage classes are made before the gateway starts, which would notice them late.
The gateway is stopped first, then the daemon, then the monitor: in another order each waits for the one that is gone.
A request takes a quarter less processor time where nothing is noted of each for the log of a crash, and with short logs
of placement groups, which nobody would recover from here, a small object takes 17 KB of memory instead of 47.
"""

import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Final

from thermocline.domain.units import Bytes, Seconds
from thermocline.testing.servers.http import answers
from thermocline.testing.servers.processes import ServerFailedError, ServerProcess, free_port, program

ACCESS_KEY: Final = "thermocline-test"
SECRET_KEY: Final = "not-a-secret/only+for=tests"  # noqa: S105 - of a server that lives as long as a test run
REGION: Final = "default"
CLASSES: Final = ("STANDARD_IA", "GLACIER")
"""Besides STANDARD. GLACIER is one in name only: its objects stay readable, and RestoreObject answers 501."""

_COMMAND_WAIT: Final = Seconds(60.0)
_CONF: Final = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
run dir = {folder}
log file = /dev/null
log to stderr = true
err to stderr = true
debug none = 0
debug ms = 0/0
debug osd = 0/0
debug rgw = 0/0
osd objectstore = {store}
memstore device bytes = {memory}
bluestore block create = true
bluestore block size = {disk}
bluestore cache autotune = false
osd memory target = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max object name len = 2048
osd enable op tracker = false
osd min pg log entries = 100
osd max pg log entries = 100
osd target pg log entries per osd = 100
osd pg log dups tracked = 100
mon allow pool size one = true
mon max pg per osd = 1000
mon data = {folder}/mon
osd data = {folder}/osd
paxos propose interval = 0.05
mon osd full ratio = 1.0
mon data avail crit = 1
mon data avail warn = 1
rgw thread pool size = 64
rgw cache enabled = true
rgw lc debug interval = 10
rgw enable usage log = false
rgw enable ops log = false
rgw multipart min part size = {smallest_part}
"""


class CephServer:
    """An S3 gateway of Ceph with one user. `start` takes a few seconds; nothing outlives `stop`.

    `on_disk`: objects lie in a sparse file in the folder, rather than in memory.
    """

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    region = REGION

    def __init__(
        self,
        folder: Path,
        *,
        memory: Bytes = Bytes(4 * 2**30),
        on_disk: bool = False,
        disk: Bytes = Bytes(40 * 2**30),
        smallest_part: Bytes = Bytes(5 * 2**20),
    ) -> None:
        """Make one under `folder`. `smallest_part` is what every part of an upload but the last has at least."""
        self._folder = folder
        self._stores = {
            "store": "bluestore" if on_disk else "memstore",
            "memory": memory,
            "disk": disk,
            "smallest_part": smallest_part,
        }
        self.port = free_port()
        self._mon: ServerProcess | None = None
        self._osd: ServerProcess | None = None
        self._gateway: ServerProcess | None = None

    @property
    def endpoint(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start everything, and return once the gateway answers. Raises `ServerFailedError`; then nothing runs."""
        try:
            self._prepare()
            self._start_mon()
            self._start_osd()
            self._make_zone()
            self._start_gateway()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the gateway, then what it stands on; idempotent."""
        for process in (self._gateway, self._osd, self._mon):
            if process is not None:
                process.stop(wait=Seconds(2.0))

    def pause(self) -> None:
        """Let the gateway stand still: connections stay open, and nothing is answered."""
        self._running_gateway().pause()

    def resume(self) -> None:
        """Let the gateway go on; idempotent."""
        self._running_gateway().resume()

    def kill(self) -> None:
        """End the gateway this instant; what it acknowledged is kept."""
        self._running_gateway().kill()

    def start_again(self) -> None:
        """Start the gateway after `kill`, at the same address."""
        self._running_gateway().start()

    def _running_gateway(self) -> ServerProcess:
        if self._gateway is None:
            raise ServerFailedError("the gateway was not started")
        return self._gateway

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        fsid = str(uuid.uuid4())
        mon_port = free_port()
        self._conf.write_text(
            _CONF.format(fsid=fsid, port=mon_port, folder=self._folder, **self._stores), encoding="utf-8"
        )
        for folder in ("mon", "osd"):
            shutil.rmtree(self._folder / folder, ignore_errors=True)
            (self._folder / folder).mkdir()
        keyring = str(self._folder / "keyring")
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        create = ["--create-keyring"]
        for entity in ("mon.", "client.admin", "osd.0"):
            self._run("ceph-authtool", keyring, *create, "--gen-key", "-n", entity, *everything)
            create = []
        monmap = str(self._folder / "monmap")
        address = f"[v2:127.0.0.1:{mon_port}]"
        self._run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, monmap)
        self._run("ceph-mon", *self._named, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)

    def _start_mon(self) -> None:
        self._mon = ServerProcess(
            [program("ceph-mon"), *self._named, "-f", "-i", "a"], self._log("mon"), is_ready=lambda: True
        )
        self._mon.start()
        self._osd_id = str(uuid.uuid4())
        self._run("ceph", *self._named, "--connect-timeout", "30", "osd", "new", self._osd_id)

    def _start_osd(self) -> None:
        self._run("ceph-osd", *self._named, "-i", "0", "--mkfs", "--osd-uuid", self._osd_id)
        self._osd = ServerProcess(
            [program("ceph-osd"), *self._named, "-f", "-i", "0"], self._log("osd"), is_ready=lambda: True
        )
        self._osd.start()

    def _make_zone(self) -> None:
        # The first command makes the default zone group and zone.
        user = ("--uid", "test", "--display-name", "test", "--max-buckets", "0")
        self._admin("user", "create", *user, "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        for name in CLASSES:
            placed = ("--placement-id", "default-placement", "--storage-class", name)
            self._admin("zonegroup", "placement", "add", "--rgw-zonegroup", "default", *placed)
            pool = ("--data-pool", f"default.rgw.{name.lower()}.data")
            self._admin("zone", "placement", "add", "--rgw-zone", "default", *placed, *pool)

    def add_user(self, name: str, *, access_key: str, secret_key: str) -> None:
        """Make another user, who may do nothing in the buckets of the first."""
        user = ("--uid", name, "--display-name", name)
        self._admin("user", "create", *user, "--access-key", access_key, "--secret-key", secret_key)

    def _start_gateway(self) -> None:
        front = f"--rgw-frontends=beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1"
        self._gateway = ServerProcess(
            [program("radosgw"), *self._named, "-f", "-n", "client.admin", front],
            self._log("rgw"),
            is_ready=lambda: answers(self.endpoint),
        )
        self._gateway.start()

    @property
    def _conf(self) -> Path:
        return self._folder / "ceph.conf"

    @property
    def _named(self) -> tuple[str, str]:
        return ("-c", str(self._conf))

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _admin(self, *arguments: str) -> None:
        self._run("radosgw-admin", *self._named, "-n", "client.admin", *arguments)

    def _run(self, name: str, *arguments: str) -> None:
        try:
            done = subprocess.run(
                [program(name), *arguments], capture_output=True, check=False, timeout=_COMMAND_WAIT, text=True
            )
        except subprocess.TimeoutExpired as exc:
            raise ServerFailedError(f"{name} {' '.join(arguments)} did not end in {_COMMAND_WAIT:.0f} s") from exc
        if done.returncode:
            raise ServerFailedError(f"{name} {' '.join(arguments)}: {done.stderr[-2000:]}")
