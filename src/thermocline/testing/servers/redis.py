"""Redis servers: one alone, with TLS or not; a cluster; one watched by Sentinels. In memory only, on free ports."""

import random
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from thermocline.domain.units import Seconds
from thermocline.testing.servers.processes import POLL, ServerFailedError, ServerProcess, program

SLOTS: Final = 16384
NODE_TIMEOUT: Final = Seconds(0.5)
"""After so much silence the nodes of a cluster, and Sentinels, hold another for dead."""
CHANGE_WAIT: Final = Seconds(120.0)
BUS_OFFSET: Final = 10_000
"""A cluster's nodes talk to one another at their port plus this."""
PORTS: Final = range(10_100, 22_000)
_ANSWER_WAIT: Final = Seconds(10.0)


class RedisServer:
    """One Redis server that keeps nothing on disk."""

    def __init__(
        self, folder: Path, *options: str, password: str = "", port: int | None = None, tls: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port if port is not None else _port_with_bus()
        self.password = password
        self.certificate = _make_certificate(folder) if tls else None
        """Signs itself: what clients must trust."""
        listen: tuple[str, ...] = ("--port", str(self.port))
        if self.certificate is not None:
            key = str(self.certificate.with_suffix(".key"))
            files = ("--tls-cert-file", str(self.certificate), "--tls-key-file", key)
            listen = ("--port", "0", "--tls-port", str(self.port), *files, "--tls-auth-clients", "no")
        secret = ("--requirepass", password, "--masterauth", password) if password else ()
        self.process = ServerProcess(
            [
                program("redis-server"),
                *listen,
                *("--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"),
                *("--repl-diskless-sync-delay", "0", *secret, *options),
            ],
            folder / "redis.log",
            is_ready=lambda: self.answers,
        )

    @property
    def url(self) -> str:
        """The URL of the server, without its password."""
        return f"{'rediss' if self.certificate else 'redis'}://127.0.0.1:{self.port}"

    @property
    def answers(self) -> bool:
        """Whether the server answers a PING, now."""
        try:
            return self.cli("PING", wait=Seconds(1.0)) == "PONG"
        except ServerFailedError:
            return False

    def start(self) -> None:
        """Start it, or start it again. Returns once it answers."""
        self.process.start()

    def stop(self) -> None:
        """End it. Idempotent."""
        self.process.stop()

    def kill(self) -> None:
        """End it this instant. Idempotent."""
        self.process.kill()

    def pause(self) -> None:
        """Let it stand still: connections stay open, nothing is answered."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on."""
        self.process.resume()

    def flush(self) -> None:
        """Let it forget everything."""
        self.cli("FLUSHALL")

    def cli(self, *command: str, wait: Seconds = _ANSWER_WAIT) -> str:
        """Return the answer to a command. Raises `ServerFailedError` if there is none, or if it is an error."""
        tls = ("--tls", "--cacert", str(self.certificate)) if self.certificate is not None else ()
        secret = ("-a", self.password, "--no-auth-warning") if self.password else ()
        arguments = [program("redis-cli"), "-h", "127.0.0.1", "-p", str(self.port), "-e", *tls, *secret, *command]
        deadline = time.monotonic() + wait
        while True:
            try:
                done = subprocess.run(arguments, capture_output=True, check=False, timeout=wait)
            except subprocess.TimeoutExpired as exc:
                raise ServerFailedError(f"redis at port {self.port} does not answer {shlex.join(command)}") from exc
            text, refused = (told.decode(errors="replace").strip() for told in (done.stdout, done.stderr))
            # A replica that is sent everything anew answers nothing else for a moment.
            if not (text or refused).startswith("LOADING") or time.monotonic() > deadline:
                break
            time.sleep(POLL)
        if done.returncode:
            raise ServerFailedError(f"{shlex.join(command)}: {text} {refused}")
        return text


class RedisCluster:
    """A cluster of masters with one replica each."""

    def __init__(self, folder: Path, *options: str, masters: int = 3, replicas: int = 1) -> None:
        cluster = (
            *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-replica-validity-factor"),
            *("0", "--cluster-node-timeout", str(round(NODE_TIMEOUT * 1000)), "--cluster-allow-replica-migration"),
            "no",
        )
        self.nodes = [
            RedisServer(folder / f"node{number}", *cluster, *options) for number in range(masters * (1 + replicas))
        ]
        self._masters = masters

    @property
    def url(self) -> str:
        """The URL of the cluster."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes and join them. Returns once every slot is served and every replica follows."""
        for node in self.nodes:
            node.process.launch()
        for node in self.nodes:
            node.process.wait_until_ready()
        masters, replicas = self.nodes[: self._masters], self.nodes[self._masters :]
        for number, node in enumerate(masters):
            first, last = SLOTS * number // self._masters, SLOTS * (number + 1) // self._masters - 1
            node.cli("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            node.cli("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in self.nodes[1:]:
            self.nodes[0].cli("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        _wait_for("the nodes to meet", lambda: all(len(node_lines(node)) == len(self.nodes) for node in self.nodes))
        for number, node in enumerate(replicas):
            master_id = masters[number % self._masters].cli("CLUSTER", "MYID")
            _wait_for("a node to know its master", lambda node=node, of=master_id: of in node.cli("CLUSTER", "NODES"))  # type: ignore[misc]
            node.cli("CLUSTER", "REPLICATE", master_id)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once all running nodes serve every slot and each replica among them follows its master."""
        _wait_for("the cluster to be whole", lambda: all(_is_whole(node) for node in self.running))

    @property
    def running(self) -> list[RedisServer]:
        """The nodes whose processes run, paused or not."""
        return [node for node in self.nodes if node.process.is_running]

    def masters(self) -> list[RedisServer]:
        """Return the nodes that are masters now, of those that run."""
        return [node for node in self.running if _role(node) == "master"]

    def master_of(self, key: str) -> RedisServer:
        """Return the node that serves a key now."""
        slot = int(self.running[0].cli("CLUSTER", "KEYSLOT", key))
        return self.master_of_slot(slot)

    def master_of_slot(self, slot: int) -> RedisServer:
        """Return the node that serves a slot now."""
        for line in node_lines(self.running[0]):
            fields = line.split()
            if "fail" not in fields[2].split(",") and any(_covers(entry, slot) for entry in fields[8:]):
                port = int(fields[1].partition("@")[0].rpartition(":")[2])
                return next(node for node in self.nodes if node.port == port)
        raise ServerFailedError(f"no node serves slot {slot}")

    def fail_over(self, master: RedisServer) -> None:
        """Let the master and its replica swap their parts, as an operator does. Returns once they have."""
        master_id = master.cli("CLUSTER", "MYID")
        replica = next(node for node in self.running if f"slave {master_id}" in _myself(node))
        replica.cli("CLUSTER", "FAILOVER")
        _wait_for("the replica to take over", lambda: _role(replica) == "master")
        self.wait_until_whole()

    def move_slot(self, slot: int, target: RedisServer) -> None:
        """Hand one slot with its keys to another master, as resharding does."""
        source = self.master_of_slot(slot)
        source_id, target_id = source.cli("CLUSTER", "MYID"), target.cli("CLUSTER", "MYID")
        target.cli("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source_id)
        source.cli("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target_id)
        while keys := source.cli("CLUSTER", "GETKEYSINSLOT", str(slot), "100").split("\n"):
            if keys == [""]:
                break
            source.cli("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys)
        for node in (target, source, *self.masters()):
            node.cli("CLUSTER", "SETSLOT", str(slot), "NODE", target_id)

    def flush(self) -> None:
        """Let every master forget everything."""
        for node in self.masters():
            node.flush()

    def stop(self) -> None:
        """End all nodes. Idempotent."""
        for node in self.nodes:
            node.kill()


class RedisSentinels:
    """A master and a replica, watched by three Sentinels that agree by two."""

    NAME = "thermocline"

    def __init__(self, folder: Path, *, watchers: int = 3) -> None:
        self.servers = [RedisServer(folder / "first")]
        self.servers.append(RedisServer(folder / "second", "--replicaof", "127.0.0.1", str(self.servers[0].port)))
        self.ports = [_port_with_bus() for _ in range(watchers)]
        self._watchers = [self._watcher(folder / f"sentinel{port}", port) for port in self.ports]

    @property
    def url(self) -> str:
        """The URL of the watched service."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + f"/{self.NAME}"

    def start(self) -> None:
        """Start servers and Sentinels. Returns once they know one another."""
        for server in self.servers:
            server.start()
        replica = self.servers[1]
        _wait_for("the replica to follow", lambda: "master_link_status:up" in replica.cli("INFO", "replication"))
        for watcher in self._watchers:
            watcher.start()
        _wait_for("the Sentinels to agree", lambda: all(self._knows_all(port) for port in self.ports))

    def master(self) -> RedisServer:
        """Return the server that the Sentinels hold for the master."""
        port = int(self._ask(self.ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME).split()[1])
        return next(server for server in self.servers if server.port == port)

    def stop(self) -> None:
        """End everything. Idempotent."""
        for watcher in self._watchers:
            watcher.kill()
        for server in self.servers:
            server.kill()

    def _watcher(self, folder: Path, port: int) -> ServerProcess:
        folder.mkdir(parents=True, exist_ok=True)
        silence = round(NODE_TIMEOUT * 1000)
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} {silence}\nsentinel failover-timeout {self.NAME} 3000\n"
        )
        return ServerProcess(
            [program("redis-server"), str(settings), "--sentinel"],
            folder / "redis.log",
            is_ready=lambda: self._answers(port),
        )

    def _answers(self, port: int) -> bool:
        try:
            return self._ask(port, "PING") == "PONG"
        except ServerFailedError:
            return False

    def _knows_all(self, port: int) -> bool:
        told = self._ask(port, "SENTINEL", "MASTER", self.NAME).split("\n")
        facts = dict(zip(told[::2], told[1::2], strict=False))
        return facts["num-other-sentinels"] == str(len(self.ports) - 1) and facts["num-slaves"] == "1"

    def _ask(self, port: int, *command: str) -> str:
        asked = RedisServer.__new__(RedisServer)
        asked.port, asked.password, asked.certificate = port, "", None
        return asked.cli(*command)


def node_lines(node: RedisServer) -> Sequence[str]:
    """Return what a node of a cluster tells about each node, line by line."""
    return node.cli("CLUSTER", "NODES").splitlines()


def _is_whole(node: RedisServer) -> bool:
    if "cluster_state:ok" not in node.cli("CLUSTER", "INFO"):
        return False
    replication = node.cli("INFO", "replication")
    return "role:master" in replication or "master_link_status:up" in replication


def _role(node: RedisServer) -> str:
    try:
        return node.cli("ROLE", wait=Seconds(1.0)).split("\n")[0]
    except ServerFailedError:
        return "unknown"


def _myself(node: RedisServer) -> str:
    return next(line for line in node_lines(node) if "myself" in line)


def _covers(entry: str, slot: int) -> bool:
    if entry.startswith("["):
        return False
    first, _, last = entry.partition("-")
    return int(first) <= slot <= int(last or first)


def _wait_for(what: str, is_so: Callable[[], bool], *, wait: Seconds = CHANGE_WAIT) -> None:
    deadline = time.monotonic() + wait
    while not is_so():
        if time.monotonic() > deadline:
            raise ServerFailedError(f"waited {wait:.0f} s for {what}")
        time.sleep(POLL)


def _port_with_bus() -> int:
    """Return a port that is free, and free for a cluster's bus above it.

    Both lie below the ports that systems give to outgoing connections, one of which might take them at any moment.
    """
    for _ in range(1000):
        port = random.choice(PORTS)  # noqa: S311 - so that sessions side by side do not meet
        if _is_free(port) and _is_free(port + BUS_OFFSET):
            return port
    raise ServerFailedError(f"none of a thousand ports from {PORTS.start} to {PORTS.stop} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _make_certificate(folder: Path) -> Path:
    certificate = folder / "redis.crt"
    subprocess.run(
        [
            *(
                program("openssl"),
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate), "-days", "30"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate
