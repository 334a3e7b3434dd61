"""Processes that export and read: the command, and `online_worker`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support.forks import programs

PIT_JOIN = Path(sys.executable).parent / "pit-join"
WORKER = Path(__file__).parents[1].joinpath("online_worker.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def worker(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process of `online_worker`; its output can be read as it comes."""
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True, **options,
    )  # fmt: skip


KNOWN = "import sys; from online_worker import *; from pit_join.errors import StoreError\n"


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that has the worker's names.

    The process is a fork of one that has loaded the modules and opened no store; with options of `subprocess.run` it
    starts from nothing.
    """
    program = programs() / "python" if not options else sys.executable
    return subprocess.run(
        [program, "-c", KNOWN + code, *map(str, arguments)],
        capture_output=True, text=True, env=ENVIRONMENT | {"PYTHONPATH": str(WORKER.parent)}, check=False,
        **{"timeout": 120, **options},
    )  # fmt: skip


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
