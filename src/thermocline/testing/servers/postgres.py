"""A PostgreSQL server of one's own: a port and folders that nobody else has, the programs of the newest release.

Waiting for the disk is off unless `durable`: then what was acknowledged outlives `kill` as in production.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

from thermocline.domain.units import Seconds
from thermocline.testing.servers.processes import (
    POLL,
    START_WAIT,
    STOP_WAIT,
    ServerFailedError,
    ServerProcess,
    free_port,
    program,
)

USER: Final = "thermocline"
SYSTEM_USER: Final = "postgres"
"""Whose process it is when the tests run as root, which PostgreSQL refuses to be."""
_INITDB_WAIT: Final = Seconds(120.0)
_RELEASES: Final = "/usr/lib/postgresql"
_FAST: Final = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
_SMALL: Final = (
    "max_connections=300",
    "shared_buffers=64MB",
    "max_wal_size=256MB",
    "logging_collector=off",
    "lc_messages=C",
    "log_line_prefix=%m [%p] ",
)


class PostgresServer:
    """One server under `folder`, made on first start. Its databases outlive stops, kills and restarts."""

    def __init__(self, folder: Path, *, durable: bool = False, password: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._password = password or secrets.token_hex(8)
        self._durable = durable
        self._programs = _programs()
        self._system_user = SYSTEM_USER if os.geteuid() == 0 else None
        settings = (*_SMALL, *(() if durable else _FAST), f"port={self.port}", "listen_addresses=127.0.0.1")
        self.process = ServerProcess(
            [
                program("postgres", self._programs),
                *("-D", str(self._data), "-k", str(self._sockets)),
                *(part for setting in settings for part in ("-c", setting)),
            ],
            folder / "postgres.log",
            is_ready=self._answers,
            user=self._system_user,
            stop_signal=signal.SIGINT,  # what PostgreSQL calls a fast shutdown
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _sockets(self) -> Path:
        return self.folder / "sockets"

    def start(self, *, wait: Seconds = START_WAIT) -> None:
        """Start the server, made first if need be, and return once it answers. Raises `ServerFailedError`."""
        self.launch()
        self.wait_until_ready(wait=wait)

    def launch(self) -> None:
        """Start the server without waiting. It lives no longer than the thread that calls this."""
        if not self._data.exists():
            self._initialise()
        self.process.launch()

    def wait_until_ready(self, *, wait: Seconds = START_WAIT) -> None:
        """Return once the launched server answers. Raises `ServerFailedError`; then it does not run."""
        self.process.wait_until_ready(wait=wait)

    def stop(self) -> None:
        """Shut down fast: open transactions are rolled back, clients hear why. Idempotent."""
        self.process.stop()

    def kill(self) -> None:
        """End the server and everything it runs this instant, as a power cut of the process would. Idempotent."""
        if not self.process.is_running:
            return
        self.process.pause()  # so that it has no more children than those that are listed
        children = self._children()
        self.process.kill()
        for child in children:
            # They would notice by themselves, but answer a while longer, and the next server needs their memory.
            _kill(child)
        deadline = time.monotonic() + STOP_WAIT
        while any(map(_lives, children)) and time.monotonic() < deadline:
            time.sleep(POLL)

    def restart(self, *, at_once: bool = False) -> None:
        """Stop (or kill) and start again."""
        if at_once:
            self.kill()
        else:
            self.stop()
        self.start()

    def pause(self) -> None:
        """Let everything stand still: connections stay open, and nothing is answered."""
        self.process.pause()
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        self.process.resume()

    def url(self, database: str = "postgres", *, user: str = USER, password: str | None = None) -> str:
        """Return the address of a database."""
        secret = quote(self._password if password is None else password, safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def create_database(self, *, template: str | None = None, encoding: str | None = None) -> str:
        """Make an empty database, or a copy of another that nobody is connected to; return its address."""
        name = f"test_{secrets.token_hex(6)}"
        copied = f'TEMPLATE "{template}"' if template else "TEMPLATE template0"
        encoded = f" ENCODING '{encoding}' LOCALE 'C'" if encoding else ""
        # A copy by files writes no log of every page; its checkpoints cost nothing where no disk is waited for.
        self.execute(f'CREATE DATABASE "{name}" {copied}{encoded} STRATEGY FILE_COPY')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside a transaction; return its rows, if it yields any."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sockets.mkdir(exist_ok=True)
        secret = self.folder / "password"
        secret.write_text(self._password)
        if self._system_user:
            _open_way(self.folder)
            for path in (self.folder, self._sockets, secret):
                shutil.chown(path, self._system_user, self._system_user)
        as_user = ("setpriv", "--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--init-groups")
        made = subprocess.run(
            [
                *(as_user if self._system_user else ()),
                *(program("initdb", self._programs), "-D", str(self._data), "-U", USER, "--pwfile", str(secret)),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
                *(() if self._durable else ("--no-sync",)),
            ],
            capture_output=True,
            text=True,
            timeout=_INITDB_WAIT,
            check=False,
            cwd="/",
        )
        secret.unlink()
        if made.returncode:
            raise ServerFailedError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _children(self) -> list[int]:
        if not self.process.is_running:
            return []
        try:
            listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(child) for child in listed.split()]


def _programs() -> str:
    releases = Path(_RELEASES)
    found = sorted(releases.iterdir(), key=lambda path: path.name) if releases.is_dir() else []
    return str(found[-1] / "bin") if found else _RELEASES


def _open_way(folder: Path) -> None:
    """Let the other user pass through folders that only root may enter, as those of temporary files are."""
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if parent.stat().st_uid == os.geteuid() and not mode & 0o001:
            parent.chmod(mode | 0o001)
    pwd.getpwnam(SYSTEM_USER)  # a clear error if there is no such user


def _lives(process_id: int) -> bool:
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _kill(process_id: int) -> None:
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return
