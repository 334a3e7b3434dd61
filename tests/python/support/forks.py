"""Python processes made cheap: forks of one that has loaded dbt, pit_join and what they need.

`programs()` is a folder with `python`, `dbt` and `pit-join`. Each hands its arguments, environment, folder and streams
to the loaded process, which forks; it ends as its fork does, and the fork is killed when its program is. Where it
counts what a process loads, or how it starts, a test starts the real one.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import io
import marshal
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[3]
CLIENT = """#!{python} -IS
import marshal, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({place!r})
request = marshal.dumps(({program!r}, sys.argv[1:], os.getcwd(), dict(os.environ)))
socket.send_fds(server, [len(request).to_bytes(8, "little")], [0, 1, 2])
server.sendall(request)
answers = server.makefile()
fork = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(fork, number))
status = int(answers.readline())
if status < 0:
    if status != -signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def prepare(folder: Path) -> None:
    """Write the programs, for this process and all that it starts; the loaded process is started when one is run."""
    for name in ("python", "dbt", "pit-join"):
        python = os.path.realpath(sys.executable)  # without the virtual environment, which it has no need to look for
        (folder / name).write_text(CLIENT.format(python=python, place=str(folder / "socket"), program=name))
        (folder / name).chmod(0o755)
    os.environ |= {"FORKS": str(folder), "FORKS_END_WITH": str(os.getpid())}


@functools.cache
def programs() -> Path:
    """The folder of the programs; the first to ask starts the process that forks for all."""
    folder = Path(os.environ["FORKS"])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "socket").exists():
            process = subprocess.Popen(
                [sys.executable, "-m", "support.forks", str(folder)], cwd=Path(__file__).parents[1],
                env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            assert process.stdout is not None
            with process.stdout as said:
                assert said.readline() == b"ready\n"
            process.returncode = 0  # it outlives this process, which needs not wait for it
    return folder


def with_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the programs come first."""
    return {**environment, "PATH": f"{programs()}{os.pathsep}{environment['PATH']}"}


# The loaded process -------------------------------------------------------------------------------------------


def load(folder: Path) -> None:
    """Import everything, and let dbt parse a project: it makes up its schemas then, and reads its own macros."""
    import nearest_worker  # noqa: F401
    import online_worker  # noqa: F401
    import pandas  # noqa: F401
    import usearch.index  # noqa: F401
    from dbt.cli.main import dbtRunner

    import pit_join.cli.main  # noqa: F401
    import support.dbt  # noqa: F401
    from pit_join.project import dbt_project

    places = ["--project-dir", str(ROOT), "--profiles-dir", str(ROOT / "profiles"), "--log-path", str(folder / "logs")]
    # The static parser is a library with threads of its own, which a fork would lack.
    options = ["--log-level", "none", "--log-level-file", "none", "--no-static-parser"]
    done = dbtRunner().invoke([*options, "parse", *places, "--target-path", str(folder / "target")])
    assert done.success, done.exception
    replacement = SimpleNamespace(executable=str(folder / "python"), platform=sys.platform)
    dbt_project.sys = replacement  # type: ignore[assignment]


def serve(folder: Path) -> None:
    """Fork for each program that asks, until the first process of the tests has ended."""
    load(folder)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    tests = os.pidfd_open(int(os.environ["FORKS_END_WITH"]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what is loaded stays shared
    os.write(1, b"ready\n")
    while tests not in select.select([listener, tests], [], [])[0]:
        client, _ = listener.accept()
        if os.fork() == 0:
            ends_with_its_parent()
            listener.close()
            attend(client)
        client.close()


def ends_with_its_parent() -> None:
    """Let this process be killed when the one that started it has ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def attend(client: socket.socket) -> None:
    """Fork once more, for a program; end with it, and tell its status, or end when the program does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(client, 8, 3)
    request = b""
    while len(request) < int.from_bytes(length, "little"):
        request += client.recv(2**20)
    child = os.fork()
    if child == 0:
        ends_with_its_parent()
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os._exit(run(*marshal.loads(request)))
    for stream in streams:
        os.close(stream)
    threading.Thread(target=end_with, args=[client], daemon=True).start()
    with contextlib.suppress(OSError):
        client.sendall(f"{child}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        client.sendall(f"{status}\n".encode())
    os._exit(0)


def end_with(client: socket.socket) -> None:
    """End this process when a program has: it sends nothing more."""
    client.recv(1)
    os._exit(0)


def run(program: str, arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    """Run a program as Python would from its start; gives its status."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", line_buffering=os.isatty(1))  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)  # noqa: SIM115
    status: Any = 0
    try:
        start(program, arguments)
    except SystemExit as exit:
        status = exit.code
        if isinstance(status, str):
            sys.stderr.write(status + "\n")
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
        status = 1
    gc.collect()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or the program has closed it
            stream.flush()
    return status if isinstance(status, int) else int(status is not None)


def start(program: str, arguments: list[str]) -> None:
    """Run dbt, the command, a piece of code (`-c`), a module (`-m`) or a script."""
    sys.argv = [program, *arguments]
    sys.modules["__main__"].__package__ = ""  # click calls a part of a package `python -m ...`
    if program == "dbt":
        from dbt.cli.main import cli

        cli()
    elif program == "pit-join":
        from pit_join.cli.main import run

        run()
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        names = {"__name__": "__main__"}
        try:
            exec(compile(arguments[1], "<string>", "exec"), names)
        finally:
            names.clear()  # closes what the code has opened
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)
