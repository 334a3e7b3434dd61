"""Connections of the HTTP server that are many, silent, slow or endless: others are answered, and nothing is kept."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from http_servers import COMMAND, Serving, serving
from support.stores import put

from pit_join.http.connections import HEAD_BYTES, _warn_of_descriptors
from pit_join.http.seldom import Seldom
from pit_join.online.opening import open_store

pytestmark = pytest.mark.slow

ASK = {"features": ["activity:n"], "entities": {"user_id": ["a", "b"]}}
BODY = json.dumps(ASK).encode()
HEAD = b"POST /get-online-features HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    put(open_store(str(tmp_path / "online"), create=True), {"activity": {"user_id": ["a", "b"], "n": [1, 2]}})
    return tmp_path / "online"


@contextmanager
def connected(server: Serving, seconds: float = 20) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes; a reset ends it, too."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


def sent_before_the_end(connection: socket.socket, data: bytes, most: int, pause: float = 0) -> int:
    """How often data can be sent until the server has closed the connection."""
    for number in range(most):
        try:
            connection.sendall(data)
        except ConnectionError:
            return number
        time.sleep(pause)
    return most


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)["detail"]


def values(server: Serving) -> list[Any]:
    answer = server.ask(ASK)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["results"][1]["values"]
    return found


def test_many_silent_connections(store: Path) -> None:
    """More than the usual limit of open files; beside them a client is answered at once, and each time."""
    with serving(store) as server, ExitStack() as silent:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for _ in range(1100):
            silent.enter_context(connected(server))
        assert {tuple(values(server)) for _ in range(200)} == {(1, 2)}
        assert len(server.said) == 1


def test_silent_connections_make_room(store: Path) -> None:
    """The oldest first; a client that asks again and again keeps its connection or gets another."""
    with serving(store, "--max-connections", "20") as server, ExitStack() as silent:
        connections = []
        for _ in range(100):
            connections.append(silent.enter_context(connected(server)))
            assert values(server) == [1, 2]
        assert rest_of(connections[0]) == b""
        connections[-1].sendall(HEAD % len(BODY) + b"\r\n" + BODY)
        assert connections[-1].recv(15) == b"HTTP/1.1 200 OK"
        assert server.says("all 20 connections are taken; those that wait make room")
        assert len(server.said) < 5


@pytest.mark.rest
def test_connections_at_work_make_no_room(store: Path) -> None:
    """They are not ended for a further one, which is refused."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as open_now:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0?timeout=1"
        options = ("--max-connections", "2", "--deadline", "20 s")
        server = open_now.enter_context(serving(store, *options, named={"slow": url}))
        assert values(server) == [1, 2]
        server.client.close()
        # A request that is new has to be prepared, for which the silent store is asked.
        body = json.dumps(ASK | {"full_feature_names": True}).encode()
        working = [open_now.enter_context(connected(server)) for _ in range(2)]
        for connection in working:
            connection.sendall(HEAD % len(body) + b"Connection: close\r\n\r\n" + body)
        time.sleep(0.5)  # until both have come
        for _ in range(2):
            answer = rest_of(open_now.enter_context(connected(server)))
            assert refusal(answer) == (503, "the server has no room for another connection; try later")
        for connection in working:
            assert b'"values":[1,2]' in rest_of(connection)
        assert server.says("all 2 connections are at work; a further one is refused")


@pytest.mark.rest
def test_few_files_may_be_open(store: Path) -> None:
    """The bound is below the hard limit, which is said; and a flood of connections writes no flood of lines."""
    command = [COMMAND, "--store", str(store), "serve", "--port", "0"]
    process = subprocess.Popen([sys.executable, "-c", LIMITED, *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    warning, serves = process.stderr.readline(), process.stderr.readline()
    try:
        assert "takes 28 connections at a time, and not 4,096; raise the limit" in warning
        found = re.match(r"http://127.0.0.1:(\d+)/ ", serves)
        assert found
        with ExitStack() as silent:
            address = ("127.0.0.1", int(found[1]))
            for _ in range(60):
                silent.enter_context(socket.create_connection(address, timeout=20))
            with socket.create_connection(address, timeout=20) as connection:
                connection.sendall(HEAD % len(BODY) + b"Connection: close\r\n\r\n" + BODY)
                assert b'"values":[1,2]' in rest_of(connection)
    finally:
        process.terminate()
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait(40) == 0
    assert said.count("\n") < 5, said


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"POST /get-onl", 408),
        (HEAD % len(BODY), 408),
        (HEAD % len(BODY) + b"\r\n", 408),
        (HEAD % len(BODY) + b"\r\n" + BODY[:-1], 408),
    ],
    ids=["nothing", "an empty line", "a word", "half a head", "no body", "half a body"],
)
def test_a_request_that_does_not_come(store: Path, sent: bytes, status: int | None) -> None:
    with serving(store, "--request-timeout", "1 s") as server, connected(server) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        answer = rest_of(connection)
        assert 0.9 < time.monotonic() - started < 10
        if status is None:
            assert answer == b""
        else:
            assert refusal(answer) == (status, "the request was not sent whole within 1 s")
        assert values(server) == [1, 2]


def test_a_request_that_comes_byte_by_byte(store: Path) -> None:
    """A byte now and then does not keep a connection open, neither in the head nor between two requests."""
    with serving(store, "--request-timeout", "1 s") as server:
        for start in (b"", HEAD % len(BODY) + b"\r\n" + BODY):
            with connected(server) as connection:
                connection.sendall(start)
                assert sent_before_the_end(connection, b"\r" if start else b"P", 100, pause=0.1) < 50


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * (HEAD_BYTES // 6 + 1) + b"\r\n",
        b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 3 * HEAD_BYTES,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"a" * 3 * HEAD_BYTES,
        b"GET /" + b"a" * 3 * HEAD_BYTES,
    ],
    ids=["a header", "many headers", "a path", "a header without end", "a name without end", "a path without end"],
)
def test_a_large_head(store: Path, head: bytes) -> None:
    with serving(store) as server, connected(server) as connection:
        try:
            connection.sendall(head)
        except ConnectionError:
            pass
        else:
            answer = rest_of(connection)
            assert refusal(answer) == (431, "the head of the request is larger than 65,536 bytes")
        assert values(server) == [1, 2]


def test_a_head_that_is_just_large_enough(store: Path) -> None:
    with serving(store) as server, connected(server) as connection:
        for size in (HEAD_BYTES - 200, HEAD_BYTES - 200):  # each request has a bound of its own
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * size + b"\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            while b"alive" not in connection.recv(65_536):
                pass
        large = {**ASK, "ignored": "a" * 3 * HEAD_BYTES}  # a body has another bound
        connection.sendall(HEAD % len(json.dumps(large)) + b"\r\n" + json.dumps(large).encode())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_large_heads_one_after_the_other(store: Path) -> None:
    """Each has a bound of its own, also where parts of several come at once."""
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000 + b"\r\n\r\n"
    with serving(store) as server, connected(server) as connection:
        connection.sendall(request * 50 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert rest_of(connection).count(b"alive") == 51


def test_an_endless_head_costs_nothing(store: Path) -> None:
    """100 MB of headers were kept, and took 14 seconds."""
    with serving(store) as server:
        before = memory(server)
        for _ in range(20):
            with connected(server) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
                assert sent_before_the_end(connection, b"X: " + b"a" * 100_000, 1000) < 1000
        assert values(server) == [1, 2]
        assert memory(server) - before < 20 * 2**20


def memory(server: Serving) -> int:
    (line,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    return int(line) * 1024


def test_requests_one_after_the_other_and_at_once(store: Path) -> None:
    request = HEAD % len(BODY) + b"\r\n" + BODY
    with serving(store) as server, connected(server, 3) as connection:
        for times in (1, 1, 5, 2000):
            connection.sendall(request * times)
            found = b""
            while found.count(b'"values":[1,2]') < times:
                found += connection.recv(65_536)


def test_a_client_that_asks_for_http_2(store: Path) -> None:
    """As Java's client does; without a body it is answered in HTTP/1.1, with one it is told what to do."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    with serving(store) as server, connected(server, 5) as connection:
        for more in (upgrade, b"", upgrade):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n")
            found = b""
            while b"alive" not in found:
                found += connection.recv(65_536)
            assert found.startswith(b"HTTP/1.1 200 OK")
        connection.sendall(HEAD % len(BODY) + upgrade + b"\r\n" + BODY)
        status, detail = refusal(rest_of(connection))
        assert (status, "HttpClient.Version.HTTP_1_1" in detail) == (400, True)
        assert len(server.said) == 1


def test_a_client_that_has_nothing_more_to_send(store: Path) -> None:
    """It closes its half of the connection, as `nc -N` does, and has its answer even where that takes a while."""
    ask = json.dumps(ASK | {"full_feature_names": True}).encode()
    with serving(store, "--deadline", "5 s") as server:
        for body, times in ((ask, 1), (BODY, 1), (BODY, 20)):
            with connected(server) as connection:
                connection.sendall((HEAD % len(body) + b"\r\n" + body) * times)
                connection.shutdown(socket.SHUT_WR)
                assert rest_of(connection).count(b'"values":[1,2]') == times
        with connected(server) as connection:
            connection.sendall(HEAD % len(BODY) + b"\r\n" + BODY[:-1])
            connection.shutdown(socket.SHUT_WR)
            assert rest_of(connection) == b""


def test_what_is_no_request(store: Path) -> None:
    with serving(store) as server, connected(server) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # the beginning of TLS
        assert refusal(rest_of(connection)) == (400, "this is not a request of HTTP/1.1")
        assert len(server.said) == 1


def test_a_client_that_does_not_read(store: Path) -> None:
    """Its connection ends, and with it what was written for it."""
    wide = {"features": ["activity:n"], "entities": {"user_id": ["a"] * 5000}}
    body = json.dumps(wide).encode()
    with serving(store, "--request-timeout", "1 s") as server:
        with connected(server) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert sent_before_the_end(connection, HEAD % len(body) + b"\r\n" + body, 2000) < 2000
        assert values(server) == [1, 2]
        assert descriptors(server) < 40


def test_an_answer_that_is_not_read(tmp_path: Path) -> None:
    """One whole request, of which the client takes no answer, and says nothing more."""
    put(open_store(str(tmp_path / "online"), create=True), {"activity": {"user_id": ["a"], "text": ["x" * 2000]}})
    wide = json.dumps({"features": ["activity:text"], "entities": {"user_id": ["a"] * 10_000}}).encode()
    with serving(tmp_path / "online", "--request-timeout", "1 s") as server:
        assert server.client.get("/health").status_code == 200
        before = descriptors(server)
        with connected(server) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(HEAD % len(wide) + b"\r\n" + wide)
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            until = time.monotonic() + 10
            while descriptors(server) > before:
                assert time.monotonic() < until
                time.sleep(0.05)


def descriptors(server: Serving) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_too_many_open_files_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio writes a trace for each connection that it cannot accept, thousands a second."""
    loop = asyncio.new_event_loop()
    _warn_of_descriptors(loop)
    for number in [errno.EMFILE, errno.ENFILE] * 50 + [errno.EPERM]:
        loop.call_exception_handler({"message": "accept", "exception": OSError(number, "x")})
    loop.close()
    said = [(record.name, record.getMessage().split("\n")[0]) for record in caplog.records]
    assert [name for name, _ in said] == ["pit_join", "asyncio"]
    assert said[0][1].startswith("no connection can be accepted, since too many files are open; raise the limit")


def test_a_warning_is_said_seldom(caplog: pytest.LogCaptureFixture) -> None:
    seldom = Seldom(0.2)
    for _ in range(5):
        seldom("full")
        seldom("100 % full")
    time.sleep(0.3)
    seldom("full")
    assert [record.getMessage() for record in caplog.records] == [
        "full", "100 % full", "full (4 times more since the last such line)",
    ]  # fmt: skip
