"""The HTTP server under load while exports go on: no error, no vector of two exports, memory that does not grow.

PIT_JOIN_LOAD_SECONDS=60 runs it longer, `make test-long` somewhat longer, and --log-cli-level INFO shows the figures.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from http_servers import Serving, serving
from online_worker import VIEWS, expected, export
from support.runs import number_of

from pit_join.http.answers import ARROW, JSON
from pit_join.online.opening import open_store

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("PIT_JOIN_LOAD_SECONDS", number_of(3, 5)))
CONNECTIONS = 4
KEYS = 2_000
PAUSE = number_of(3, 5) / 10


def columns(content: bytes, form: str) -> dict[str, list[Any]]:
    if form == ARROW:
        return dict(pa.ipc.open_stream(content).read_all().to_pydict())
    found = json.loads(content)
    values = (result["values"] for result in found["results"])
    return dict(zip(found["metadata"]["feature_names"], values, strict=True))


class Client(threading.Thread):
    """Asks without a pause on one connection, and keeps what was wrong."""

    def __init__(self, server: Serving, number: int, until: float) -> None:
        super().__init__()
        self._port, self._number, self._until = server.port, number, until
        self.requests, self.generations = 0, set[int]()
        self.wrong: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        form = ARROW if self._number == 0 else JSON
        while time.monotonic() < self._until and not self.wrong:
            first = self.requests * 17 % (KEYS - 30)
            numbers = list(range(first, first + (2 if self.requests % 3 else 30)))
            entities = {"user_id": [f"u{number}" for number in numbers]}
            body = json.dumps({"features": [f"{view}:*" for view in VIEWS], "entities": entities})
            try:
                connection.request("POST", "/get-online-features", body, {"Accept": form})
                answer = connection.getresponse()
                content = answer.read()
                assert answer.status == 200, content
                self._check(columns(content, form), numbers)
            except Exception as error:  # what it is fails the test
                self.wrong.append(f"{type(error).__name__}: {error}"[:2000])
            self.requests += 1
        connection.close()

    def _check(self, found: dict[str, list[Any]], numbers: list[int]) -> None:
        rows = [{name: found[name][row] for name in expected(0, 0)} for row in range(len(numbers))]
        seen = {value % 1000 for row in rows for value in row.values() if isinstance(value, int)}
        # Of two neighbours every generation has at least one.
        (generation,) = seen
        self.generations.add(generation)
        assert rows == [expected(number, generation) for number in numbers], f"not all of {generation}: {rows}"


def private_bytes(server: Serving, processes: list[int]) -> int:
    """Memory of its own; pages of the store's file are not counted."""
    found = 0
    for process in [server.process.pid, *processes]:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
    return found


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.rest
def test_load_while_exports_go_on(tmp_path: Path, workers: int) -> None:
    store = open_store(str(tmp_path / "online"), create=True)
    export(store, KEYS, 1)
    seconds = SECONDS / workers
    with serving(tmp_path / "online", "--workers", str(workers)) as server:
        assert server.client.get("/ready").status_code == 200
        begun = time.monotonic()
        clients = [Client(server, number, begun + seconds) for number in range(CONNECTIONS)]
        for client in clients:
            client.start()
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        generation, memory = 1, []
        due = begun + PAUSE
        while due < begun + seconds:
            clients[0].join(due - time.monotonic())  # it ends early only if something is wrong
            generation += 1
            export(store, KEYS, generation)
            memory.append(private_bytes(server, [int(child) for child in children.read_text().split()]))
            due += PAUSE
        for client in clients:
            client.join()
        assert [client.wrong for client in clients] == [[] for _ in clients]
        seen = set().union(*(client.generations for client in clients))
        assert len(seen) >= generation - 1, seen
        requests = sum(client.requests for client in clients)
        counted = server.metrics()
        assert counted['pit_join_requests_total{path="/get-online-features",status="200"}'] == requests
        assert counted["pit_join_store_errors_total"] == 0
        # What is prepared is there after the first exports. Each worker has buffers of its own.
        settled = memory[len(memory) // 3 :]
        assert max(settled) - settled[0] < 20e6 * workers, memory
        assert server.stop() == 0
    said = f"{workers} workers, {seconds:g} s: {requests:,} requests, {generation} exports"
    logging.getLogger(__name__).info(
        "%s, memory %s", said, [f"{size / 1e6:.0f} MB" for size in memory[:: len(memory) // 8 + 1]]
    )
