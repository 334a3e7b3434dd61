"""Processes that export and read: the command, and `online_worker`."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PIT_JOIN = Path(sys.executable).parent / "pit-join"
WORKER = Path(__file__).parents[1].joinpath("online_worker.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def worker(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process of `online_worker`; its output can be read as it comes."""
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True, **options,
    )  # fmt: skip


KNOWN = "from online_worker import *; from pit_join.errors import StoreError\n"


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that has the worker's names.

    The process is a fork of one that has loaded the modules and opened no store; with options of `subprocess.run` it
    starts from nothing.
    """
    words = list(map(str, arguments))
    if not options:
        return _nursery().run(KNOWN + code, words)
    return subprocess.run(
        [sys.executable, "-c", "import sys; " + KNOWN + code, *words],
        capture_output=True, text=True, env=ENVIRONMENT | {"PYTHONPATH": str(WORKER.parent)}, check=False, **options,
    )  # fmt: skip


COMMAND = """
import os
from pit_join.cli.main import run
os.environ.update(json.loads(sys.argv.pop(1)))
sys.argv[0] = "pit-join"
run()
"""


def pit_join(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run the command in a fork, and return what it prints on both channels."""
    return _nursery().run(KNOWN + COMMAND, [json.dumps(environment), *arguments], folder, together=True).stdout


@functools.cache
def _nursery() -> Nursery:
    made = Nursery()
    atexit.register(made.end)
    return made


class Nursery:
    """A process that forks for each piece of code that is to run in a process of its own."""

    def __init__(self) -> None:
        self._process = worker("pieces")

    def run(
        self, code: str, arguments: list[str], folder: Path | None = None, together: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run code with these arguments, by default in the folder of this process.

        With `together`, all that is printed is in the standard output, in its order.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as made:
            paths = [Path(made, "out"), Path(made, "err")]
            for path in paths:
                path.touch()
            printed = [str(paths[0]), str(paths[0 if together else 1])]
            self._process.stdin.write(json.dumps([code, arguments, str(folder or Path.cwd()), *printed]) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            texts = [path.read_text() for path in paths]
        return subprocess.CompletedProcess(arguments, status, *texts)

    def end(self) -> None:
        """End it; it waits for input."""
        self._process.communicate()


class Commands:
    """The command, each time in a new process, which is not the time to load its modules."""

    def __init__(self, folder: Path) -> None:
        self.output, self._transactions = folder / "output.txt", folder / "transactions.txt"
        self._process = worker("commands", self.output, self._transactions)

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def start(self, arguments: list[str]) -> int:
        """Begin a command; gives its process."""
        assert self._process.stdin is not None
        self._transactions.write_text("")
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        return self._line()

    def end(self) -> int:
        """Wait for its status."""
        return self._line()

    def timed(self, arguments: list[str]) -> tuple[float, float]:
        """Run a command to its end; the seconds that it took, and of these the last ones, since it began to write."""
        began = time.monotonic()
        self.start(arguments)
        self.wait_for_transaction()
        wrote = time.monotonic()
        assert self.end() == 0
        return time.monotonic() - began, time.monotonic() - wrote

    def is_writing(self) -> bool:
        """Whether the last command had begun a transaction and had not ended it."""
        return self._transactions.read_text() == "("

    def has_written(self) -> bool:
        """Whether the last command had ended a transaction."""
        return self._transactions.read_text() == "()"

    def wait_for_transaction(self) -> None:
        """Until the command begins to write."""
        deadline = time.monotonic() + 20
        while not self._transactions.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
