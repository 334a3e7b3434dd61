"""The end of a server under load: what clients have sent is answered, and all else is refused or closed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
from http_servers import Serving, serving
from support.stores import Table, put

from pit_join.online.opening import open_store

pytestmark = pytest.mark.slow

ASK = json.dumps({"features": ["activity:n"], "entities": {"user_id": ["a"]}})
HEAD = f"POST /get-online-features HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(ASK)}\r\n"
WHOLE = f"{HEAD}\r\n{ASK}".encode()
CLIENTS = 8
SECONDS = 20.0  # for what takes a moment


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("end") / "online"
    wide: Table = {"user_id": ["a"], **{f"feature_{number}": [number] for number in range(500)}}
    put(open_store(str(folder), create=True), {"activity": {"user_id": ["a"], "n": [1]}, "wide": wide})
    return folder


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def refuses(server: Serving) -> bool:
    with socket.socket() as another:
        return another.connect_ex(("127.0.0.1", server.port)) != 0


def ask_until_refused(port: int, keeps: bool, seen: Counter[str]) -> None:
    """Ask without a pause, on one connection for as long as the server lets it, or each time on a new one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    while True:
        try:
            if connection.sock is None:
                connection.connect()
        except ConnectionRefusedError:
            seen["refused"] += 1
            return
        try:
            connection.request("POST", "/get-online-features", ASK)
            answer = connection.getresponse()
            answer.read()
            seen[f"status {answer.status}"] += 1
        except (ConnectionError, http.client.HTTPException):
            seen["broken"] += 1
            connection.close()
        if not keeps:
            connection.close()


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.rest)])
def test_under_load(workers: int, store: Path) -> None:
    """Of those that connect in the moment in which the port is closed the system itself may reset one."""
    with serving(store, "--workers", str(workers)) as server:
        wait_until(lambda: server.client.get("/ready").status_code == 200)
        server.client.close()
        seen = [Counter[str]() for _ in range(CLIENTS)]
        clients = [
            threading.Thread(target=ask_until_refused, args=(server.port, number % 2 == 0, each))
            for number, each in enumerate(seen)
        ]
        for client in clients:
            client.start()
        wait_until(lambda: all(each["status 200"] > 20 for each in seen))
        assert server.stop() == 0
        for client in clients:
            client.join()
    found = sum(seen, Counter[str]())
    assert found["refused"] == CLIENTS
    assert found["broken"] <= 1, found
    assert found.keys() <= {"refused", "broken", "status 200"}


def test_connections_without_a_request_are_closed(store: Path) -> None:
    """Both a new one and one that was used; a request whose head has begun to come is waited for."""
    with serving(store) as server, socket.create_connection(("127.0.0.1", server.port), SECONDS) as half:
        with socket.create_connection(("127.0.0.1", server.port), SECONDS) as new:
            half.sendall(HEAD[:40].encode())
            assert server.client.post("/get-online-features", content=ASK).status_code == 200  # it has read that, too
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(server))
            assert new.recv(1) == b""
        half.sendall(f"{HEAD[40:]}\r\n{ASK}".encode())
        answer = half.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in answer
        assert server.process.wait(SECONDS) == 0


def test_pipelined_requests_are_all_answered(store: Path) -> None:
    """Requests that come together; the answer to the last one says that the connection is closed."""
    with serving(store) as server, socket.create_connection(("127.0.0.1", server.port), SECONDS) as client:
        client.sendall(WHOLE[:40])
        assert server.client.post("/get-online-features", content=ASK).status_code == 200  # it has read that, too
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server))
        client.sendall(WHOLE[40:] + 2 * WHOLE)
        assert closes(client.makefile("rb")) == [False, False, True]
        assert server.process.wait(SECONDS) == 0


def test_pipelined_requests_that_were_not_read_are_answered(store: Path) -> None:
    """While the client reads no answer, the server reads no further request."""
    text = json.dumps({"features": ["wide:*"], "entities": {"user_id": ["a"]}})
    ask = WHOLE.replace(ASK.encode(), text.encode()).replace(b": %d\r\n" % len(ASK), b": %d\r\n" % len(text))
    with serving(store) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent has arrived
        client.settimeout(SECONDS)
        client.connect(("127.0.0.1", server.port))
        client.sendall(300 * ask)
        seen = [-1.0]

        def is_stuck() -> bool:
            seen.append(server.metrics().get('pit_join_requests_total{path="/get-online-features",status="200"}', 0.0))
            return seen[-1] == seen[-2] > 0

        wait_until(is_stuck)
        assert seen[-1] < 300
        for _ in range(3):
            client.sendall(ask)
            assert server.client.get("/health").status_code == 200  # it has read that, or waits until it will
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server))
        assert closes(client.makefile("rb")) == [*302 * [False], True]
        assert server.process.wait(SECONDS) == 0


@pytest.mark.rest
def test_workers_are_added_and_ended_by_signals(store: Path) -> None:
    """SIGTTIN adds a worker, which serves and ends as the others do; SIGTTOU ends the newest; others do nothing."""
    with serving(store, "--workers", "2") as server:
        wait_until(lambda: len(workers_of(server)) == 2)
        first = workers_of(server)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGWINCH):
            server.process.send_signal(number)
        for number, workers in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTIN, 3)):
            server.process.send_signal(number)
            wait_until(partial(lambda many: len(workers_of(server)) == many, workers))
        assert first == workers_of(server)[:2]
        wait_until(lambda: server.metrics()["pit_join_worker_starts_total"] == 4)
        server.client.close()
        for worker in first:
            os.kill(worker, signal.SIGSTOP)
        try:
            client = socket.create_connection(("127.0.0.1", server.port), SECONDS)
            client.sendall(WHOLE + WHOLE[:40])
            first_answer = client.recv(65_536)  # of the third worker
        finally:
            for worker in first:
                os.kill(worker, signal.SIGCONT)
        with client:
            assert first_answer.startswith(b"HTTP/1.1 200 ")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(server))
            client.sendall(WHOLE[40:])
            assert b"connection: close\r\n" in client.makefile("rb").read()
        assert server.process.wait(SECONDS) == 0
        assert not [line for line in server.said if "died" in line]


def workers_of(server: Serving) -> list[int]:
    """The processes that were started for requests, the oldest first."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    commands = {int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in children}
    return [each for each, command in commands.items() if b"spawn_main" in command]


def closes(answers: BinaryIO) -> list[bool]:
    """Read all answers of a connection, and return of each whether it says that the connection is closed."""
    found = []
    while first := answers.readline():
        assert first.startswith(b"HTTP/1.1 200 ")
        head = list(iter(answers.readline, b"\r\n"))
        length = next(int(line.split()[1]) for line in head if line.startswith(b"content-length:"))
        assert len(answers.read(length)) == length
        found.append(b"connection: close\r\n" in head)
    return found
