"""Serve and export for a long time at once, and hold every answer, memory and descriptors; see README.md.

Example: ``SECONDS_OF_SOAK=60 python benchmarks/soak.py``, with ``python`` behind it for that part alone. The exit
status is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from make_data import command
from soak_data import Exports, make_project, request

from pit_join import FeatureStore, RequestError

SECONDS = float(os.environ.get("SECONDS_OF_SOAK", "600"))
CLIENTS, KILL_SECONDS = 8, min(20.0, SECONDS / 15)  # five kills at least
# What may come on top of the first sample of a phase, which is taken when it has warmed up for a quarter of its time.
MOST_MEGABYTES, MOST_DESCRIPTORS = 64.0, 64
# The same in the process that makes the plain call: the larger of the two.
PYTHON_MEGABYTES, PYTHON_SHARE = 20.0, 0.05
PARTS = ("worker", "workers", "python")
MOST_LINES = 60  # in a server's log, besides one for each worker that was killed
COUNTED = ("requests", "exports", "503", "broken", "kills")


@dataclass
class Soak:
    """What is exported, what was seen of it, and what was wrong."""

    exports: Exports
    parts: int
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        with self.counting:
            self.seen[name] += 1

    def repeat(self, act: Callable[[], object], seconds: float = 0.0) -> None:
        """Act until the phase ends; an error of any kind is wrong, and ends it."""
        while not self.ended.wait(seconds):
            try:
                act()
            except Exception as error:
                self.note(repr(error))
                return

    def phase(
        self,
        name: str,
        process: int,
        client: Callable[[], Callable[[], None]],
        kill: bool = False,
        megabytes: float = MOST_MEGABYTES,
        share: float = 0.0,
    ) -> None:
        """Load a process, print what it takes each minute, and hold that against the bounds.

        The process may grow by the larger of `megabytes` and a `share` of what it takes after the warm-up.
        """
        self.ended.clear()
        seconds, samples = SECONDS / self.parts, []
        steps = max(4, round(seconds / 60))
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            if kill:
                pool.submit(self.repeat, lambda: self.kill_worker(process), KILL_SECONDS)
            for _ in range(CLIENTS):
                pool.submit(self.repeat, client())
            try:
                for step in range(1, steps + 1):
                    time.sleep(seconds / steps)
                    samples.append(sampled(process))
                    self.seen["exports"] = self.exports.done.value
                    counts = [step * seconds / steps, *(self.seen[each] for each in COUNTED), *samples[-1]]
                    print(f"{name:10}" + "".join(f"{count:11,.0f}" for count in counts), flush=True)
            finally:
                self.ended.set()
        firsts, highest = samples[0], [max(later) for later in zip(*samples[1:], strict=True)]
        grown = [high - first for first, high in zip(firsts, highest, strict=True)]
        most = max(megabytes, share * firsts[0])
        print(f"{name}: {firsts[0]:.0f} MB when warm, then at most {highest[0]:.0f} (bound: {firsts[0] + most:.0f})")
        if grown[0] > most or grown[1] > MOST_MEGABYTES or grown[2] > MOST_DESCRIPTORS:
            self.note(f"{name} grew by {grown[0]:.0f} and {grown[1]:.0f} MB and {grown[2]:.0f} descriptors")

    def note(self, problem: str | None) -> None:
        if problem:
            self.wrong.append(problem)

    def kill_worker(self, process: int) -> None:
        if workers := workers_of(process):  # none while all are replaced
            self.count("kills")
            os.kill(random.choice(workers), signal.SIGKILL)


def http_client(soak: Soak, port: int) -> Callable[[], None]:
    """A client on a connection that is mostly kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask() -> None:
        (body, amount, status), least = request(), soak.exports.done.value
        try:
            connection.request("POST", "/get-online-features", json.dumps(body))
            answer = connection.getresponse()
            read = json.loads(answer.read())
        except (ConnectionError, http.client.HTTPException):
            soak.count("broken")
            connection.close()
            return
        soak.count("requests")
        if answer.status == 503 and answer.getheader("Retry-After"):
            soak.count("503")
        elif answer.status != status:
            soak.note(f"status {answer.status} and not {status}: {read} for {body}")
        elif status == 200:
            names = read["metadata"]["feature_names"]
            values = {name: one["values"][0] for name, one in zip(names, read["results"], strict=True)}
            soak.note(soak.exports.problem(values, amount, least))
        if random.random() < 0.02:
            connection.close()

    return ask


def python_client(soak: Soak, store: FeatureStore) -> Callable[[], None]:
    """A client that shares a store, by the plain call."""

    def ask() -> None:
        (body, amount, status), least = request(), soak.exports.done.value
        asked = body.get("feature_service") or body["features"]
        try:
            found = store.get_online_features(asked, body["entities"]).to_dict()
        except RequestError:
            soak.note(f"refused: {body}" if status == 200 else None)
        else:
            values = {name: values[0] for name, values in found.items()}
            soak.note(soak.exports.problem(values, amount, least) if status == 200 else f"not refused: {body}")
        soak.count("requests")

    return ask


@contextmanager
def serving(soak: Soak, workers: int) -> Iterator[tuple[int, int]]:
    """A server: its process and its port. At its end the length of its log must be within bounds."""
    log = soak.exports.folder / f"{workers}.log"
    options = ["--store", str(soak.exports.folder / "online/dev"), "serve", "--port", "0", "--workers", str(workers)]
    with log.open("w") as file, subprocess.Popen([command("pit-join"), *options], stderr=file) as process:
        until = time.monotonic() + 60
        while not (found := re.search(r"http://127.0.0.1:(\d+)/ serves", log.read_text())):
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                sys.exit(f"the server does not start: {log.read_text()}")
            time.sleep(0.05)
        try:
            yield process.pid, int(found[1])
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
    if process.returncode:
        soak.note(f"the server ended with status {process.returncode}")
    if len(log.read_text().splitlines()) > MOST_LINES + soak.seen["kills"]:
        soak.note(f"the log is long: {log.read_text()[:2000]}")


def workers_of(process: int) -> list[int]:
    """The workers of a server that live; one may end while it is looked at."""
    found = []
    for each in map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()):
        with suppress(FileNotFoundError, ProcessLookupError):
            if "spawn_main" in Path(f"/proc/{each}/cmdline").read_text():
                found.append(each)
    return found


def sampled(process: int) -> tuple[float, float, float]:
    """The private megabytes of a process and of its largest worker, and the most descriptors of one of them."""
    sizes, files = [], []
    for each in (process, *workers_of(process)):
        with suppress(FileNotFoundError, ProcessLookupError):  # it was killed
            kilobytes = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{each}/status").read_text())
            sizes.append(int(kilobytes[1]) / 1024 if kilobytes else 0.0)
            files.append(len(os.listdir(f"/proc/{each}/fd")))
    return sizes[0], max(sizes[1:], default=0.0), max(files)


def main() -> int:
    """Run all phases, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", default=PARTS, help=f"{', '.join(PARTS)}; all by default")
    parts = parser.parse_args().parts
    if unknown := sorted({*parts} - {*PARTS}):
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="pit-join-soak-") as scratch:
        folder = Path(scratch)
        make_project(folder)
        soak = Soak(Exports(folder), len(parts))
        soak.exports.export()
        print(" " * 10 + "".join(f"{name:>11}" for name in ("seconds", *COUNTED, "MB", "worker MB", "files")))
        with soak.exports.repeated() as exporter:
            for part, workers in (("worker", 1), ("workers", 3)):
                if part in parts:
                    with serving(soak, workers) as (process, port):
                        soak.phase(part, process, partial(http_client, soak, port), kill=workers > 1)
            if "python" in parts:  # of which the largest "worker" is the exporter
                store = FeatureStore(online_store=folder / "online/dev")
                client = partial(python_client, soak, store)
                soak.phase("python", os.getpid(), client, megabytes=PYTHON_MEGABYTES, share=PYTHON_SHARE)
        if exporter.exitcode:
            soak.note("the exporter has failed")
        if soak.seen["broken"] > CLIENTS * soak.seen["kills"]:
            soak.note(f"{soak.seen['broken']} requests were broken by {soak.seen['kills']} kills")
    print("\n".join([*(f"wrong: {each[:500]}" for each in soak.wrong[:20]), f"{len(soak.wrong)} wrong"]))
    return bool(soak.wrong)


if __name__ == "__main__":
    sys.exit(main())
