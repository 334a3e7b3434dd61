"""`pit-join serve` as a process on a free port, for tests: it says when it listens, and ends by its process id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

COMMAND = str(Path(sys.executable).parent / "pit-join")


@dataclass
class Serving:
    """A running server, a client of it, and the lines that it wrote."""

    port: int
    process: subprocess.Popen[str]
    client: httpx.Client
    said: list[str] = field(default_factory=list)

    def ask(self, body: object, **headers: str) -> httpx.Response:
        """POST /get-online-features with a body as JSON; again where the answer says when, as clients do."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        for _ in range(20):
            answer = self.ask_once(body, **names)
            if "retry-after" not in answer.headers:
                break
            time.sleep(0.1)
        return answer

    def ask_once(self, body: object, **headers: str) -> httpx.Response:
        """POST /get-online-features with a body as JSON."""
        return self.client.post("/get-online-features", json=body, headers=headers)

    def metrics(self, **headers: str) -> dict[str, float]:
        """What it counts, by name with labels."""
        text = self.client.get("/metrics", headers=headers).text
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    def says(self, text: str) -> bool:
        """Whether it writes a line with some text; lines come a little later than answers."""
        ends = time.monotonic() + 10
        while not (found := any(text in line for line in self.said)) and time.monotonic() < ends:
            time.sleep(0.01)
        return found

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        self.process.terminate()
        return self.process.wait(40)


@contextmanager
def serving(
    store: str | Path, *options: str, key: str | None = None, named: Mapping[str, str] | None = None
) -> Iterator[Serving]:
    """A server of a store, and of others by name; with `key` it asks for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIT_JOIN_")}
    if key is not None:
        environment["PIT_JOIN_API_KEY"] = key
    others = [part for name, url in (named or {}).items() for part in ("--store", f"{name}={url}")]
    command = [COMMAND, "--store", str(store), *others, "serve", "--port", "0", *options]
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line.rstrip())
        if found := re.match(r"http://.*:(\d+)/ serves ", line):
            break
    else:
        process.wait()
        raise AssertionError(f"the server has ended: {said}")
    rest = threading.Thread(target=lambda: said.extend(line.rstrip() for line in process.stderr or ()))
    rest.start()
    port = int(found[1])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield Serving(port, process, client, said)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too, which would hold the pipe of the thread
        process.wait()
        rest.join()
        process.stderr.close()


def fuzz(server: Serving, examples: int) -> list[int]:
    """Send requests made up from the server's OpenAPI document, and hold all answers against the document.

    Returns the HTTP statuses of the answers.
    """
    schema, statuses = _document(server), list[int]()
    tried = []
    for operation in (result.ok() for result in schema.get_all_operations()):
        posts = operation.method == "post"
        limits = hypothesis.settings(
            max_examples=examples if posts else 3, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if posts else (GenerationMode.POSITIVE,):

            @limits
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def send(case: Any) -> None:
                statuses.append(_held(case).status_code)

            send()
        tried.append(operation.path)
    assert [*tried, "/openapi.json"] == sorted(schema.raw_schema["paths"], key=[*tried, "/openapi.json"].index)
    return statuses


def ask_as_described(server: Serving, bodies: Iterable[object]) -> list[Any]:
    """Ask for features, and hold all answers against the server's OpenAPI document."""
    operation = _document(server)["/get-online-features"]["POST"]
    return [_held(operation.Case(body=body, media_type="application/json")) for body in bodies]


def _document(server: Serving) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


def _held(case: Any) -> Any:
    answer = case.call()
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    # What fits the schema may still ask for what the store does not have; 503 is described.
    case.validate_response(answer, excluded_checks=[positive_data_acceptance, not_a_server_error])
    return answer
