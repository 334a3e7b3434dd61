"""Measure the HTTP server beside a bare endpoint and Feast's server; see README.md.

Example: ``python benchmarks/http_run.py --scale 0.02 --seconds 2``. It needs ``wrk`` (a package of Debian and Ubuntu).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from online_cases import FEAST_ENTITIES, export_command
from online_data import make
from online_measure import Failed, Peer, markdown
from run import FEAST_VENV, HERE, facts, pit_join, prepare_feast

VIEWS = {"user_profile": 7, "user_activity": 7, "user_spend": 6}
CONNECTIONS = 4
OURS, BARE, FEAST = "pit-join serve", "bare Starlette endpoint", "feast serve, SQLite"
# It would restart after every 1,000 requests, in half a second, and close connections without an answer.
FEAST_OPTIONS = ["--workers", "1", "--max-requests", "0"]
TARGETS = {BARE: "at most 2x", FEAST: "at least 5x"}
# Random ids, the same for all: every run begins with the same seed.
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
math.randomseed(7)
request = function()
  local ids = {}
  for i = 1, %(rows)d do ids[i] = math.random(0, %(most)d - 1) end
  return wrk.format(nil, "/get-online-features", nil, '{"features": %(features)s, "entities": {"user_id": [' ..
    table.concat(ids, ",") .. ']}}')
end
done = function(summary, latency, requests)
  local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %%f %%f %%f %%d\\n", latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.requests / summary.duration * 1e6, wrong))
end
"""


@contextmanager
def running(command: list[str], url: str, body: bytes) -> Iterator[bytes]:
    """A server that answers; gives the answer to one request."""
    hidden = ("PYTHONDONTWRITEBYTECODE", "PIT_JOIN_API_KEY")
    env = {k: v for k, v in os.environ.items() if k not in hidden} | {"FEAST_USAGE": "False"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            yield first_answer(process, url, body)
        finally:
            process.terminate()
            process.wait(60)


def first_answer(process: subprocess.Popen[bytes], url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Failed(f"{url}: {error.code} {error.read()[:500]!r}") from None
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise Failed(f"nothing answers at {url}")


def load(port: int, rows: int, most: int, seconds: float, features: list[str]) -> tuple[float, float, float]:
    """Ask for some seconds: median and 99th percentile in milliseconds, requests a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % {"rows": rows, "most": most, "features": json.dumps(features)})
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", script.name, f"http://127.0.0.1:{port}"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+)", printed)
    if found is None or int(found[4]):
        raise Failed(f"port {port}: {printed}")
    return float(found[1]), float(found[2]), float(found[3])


def feast_folder(data: Path, most: int) -> Path:
    """Feast's SQLite store, filled, with the file that its server wants."""
    peer = Peer("online_feast", data, "sqlite", feast=True)
    peer.ask("load", most=most, timeout=1_800)
    peer.close()
    folder = data / "feast-sqlite"
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nregistry: {{path: {folder / 'registry.db'}, cache_ttl_seconds: 0}}\n"
        f"online_store: {{type: sqlite, path: {folder / 'online.db'}}}\nentity_key_serialization_version: 3\n"
    )
    return folder


def scenario(rows: int, args: argparse.Namespace, data: Path, folder: Path | None, most: int) -> str:
    """One size of requests, all servers in turns."""
    features = [f"{view}:*" for view in VIEWS]
    body = json.dumps({"features": features, "entities": {"user_id": list(range(rows))}}).encode()
    ports = dict(zip((OURS, BARE, FEAST), free_ports(3), strict=True))
    wanted = dict.fromkeys(ports, features)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        ours = [pit_join(), "--store", str(data / "online"), "serve", "--port", str(ports[OURS])]
        answer = stack.enter_context(running(ours, url(ports[OURS]), body))
        constant = Path(scratch) / "constant"
        constant.write_bytes(answer)
        bare = [sys.executable, str(HERE / "peers" / "http_bare.py"), str(ports[BARE]), str(constant)]
        stack.enter_context(running(bare, url(ports[BARE]), body))
        if folder is None:
            del ports[FEAST]
        else:
            # Feast knows no view:*, and pit-join says what the features are called.
            names = json.loads(answer)["metadata"]["feature_names"][1:]
            wanted[FEAST] = [f"{view}:{name}" for view in VIEWS for name in names if name.startswith(f"{view}_f")]
            asked = json.dumps({**json.loads(body), "features": wanted[FEAST]}).encode()
            command = [str(FEAST_VENV / "bin" / "feast"), "--chdir", str(folder), "serve", "--no-access-log"]
            other = stack.enter_context(
                running([*command, *FEAST_OPTIONS, "--port", str(ports[FEAST])], url(ports[FEAST]), asked)
            )
            same(answer, other)
        for name, port in ports.items():
            load(port, rows, most, min(args.seconds, 2), wanted[name])
        runs = {name: [] for name in ports}
        for _ in range(args.repeat):
            for name, port in ports.items():
                runs[name].append(load(port, rows, most, args.seconds, wanted[name]))
    table = [["", "p50 ms", "p99 ms", "requests/s", "ratio of requests/s", "target"]]
    for name, each in runs.items():
        p50, p99, rate = (median(run[i] for run in each) for i in range(3))
        ratios = [run[2] / first[2] for run, first in zip(each, runs[OURS], strict=True)]
        ratio = median(ratios) if name == BARE else median(1 / one for one in ratios)
        shown = "" if name == OURS else f"{ratio:.2f}"
        target = TARGETS.get(name, "") if rows == 1 else ""
        table.append([name, f"{p50:.2f}", f"{p99:.2f}", f"{rate:,.0f}", shown, target])
    return f"## {rows} rows of 20 features, {len(answer):,} bytes of JSON\n\n{markdown(table)}\n"


def same(ours: bytes, feasts: bytes) -> None:
    """Both must give the same values."""
    found = []
    for text in (ours, feasts):
        read = json.loads(text)
        columns = zip(read["metadata"]["feature_names"], (each["values"] for each in read["results"]), strict=True)
        found.append(dict(columns))
    if found[0] != found[1]:
        raise Failed("the values of Feast's server are others")


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/get-online-features"


def free_ports(number: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size (smoke run: 0.02)")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 100], help="rows of a request")
    parser.add_argument("--seconds", type=float, default=10, help="of each run")
    parser.add_argument("--repeat", type=int, default=3, help="rounds after the warm-up")
    parser.add_argument("--skip-feast", action="store_true", help="without Feast and its virtual environment")
    parser.add_argument("--output", type=Path, help="default: RESULTS-http.md; in data/ if --scale is not 1")
    args = parser.parse_args()
    if not pit_join() or not shutil.which("wrk"):
        parser.error("install pit-join beside this Python, and wrk (apt-get install wrk)")
    data = make("O1", args.scale)
    subprocess.run(export_command(data, data / "online"), check=True, stdout=subprocess.DEVNULL)
    most = json.loads((data / "scenario.json").read_text())["entities"]
    folder = None
    if not args.skip_feast:
        prepare_feast()
        most = min(most, FEAST_ENTITIES)
        folder = feast_folder(data, most)
    version = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    text = "# Benchmark results: the HTTP server\n\n"
    text += "Made by `benchmarks/http_run.py`; README.md says what is measured.\n\n"
    tool = f"{version}: 1 thread, {CONNECTIONS} connections, {args.seconds:g} s, {args.repeat} rounds"
    text += f"{facts()}* {tool}; one worker of each server\n* scale {args.scale:g}, random ids of {most:,}\n\n"
    text += "\n".join(scenario(rows, args, data, folder, most) for rows in args.rows)
    output = args.output or HERE / ("RESULTS-http.md" if args.scale == 1 else f"data/RESULTS-http-{args.scale:g}.md")
    output.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
