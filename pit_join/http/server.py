"""The HTTP server as a process, or some of them: its socket, its workers and its end. Outside world: a port."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from multiprocessing import connection
from typing import cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from pit_join.errors import PitJoinError, StoreError, StoreUrlError
from pit_join.http.app import Settings, make_app
from pit_join.http.connections import BoundedConnection, Bounds, raise_descriptors, start_connections
from pit_join.http.metrics import SHARED_FOLDER
from pit_join.online.opening import open_store
from pit_join.online.urls import store_url

__all__ = ["Settings", "serve"]

_STOP_SECONDS = 30
_MOST_FAILURES, _YOUNG_SECONDS = 10, 30.0
_LINGER_SECONDS = 1.0  # in which a client that asks again is told to close, instead of sending into a closed connection
# A page of another site can reach the server by a name of its own that leads here, and the browser tells that name.
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_log = logging.getLogger("pit_join")
_IDLE_SECONDS = 75  # longer than clients keep a connection, so that none sends into one that is being closed


def serve(
    settings: Settings,
    host: str,
    port: int,
    workers: int,
    access_log: bool,
    on_message: Callable[[str], None],
    *,
    max_connections: int = 4096,
    request_seconds: float = 30.0,
) -> None:
    """Answer requests until SIGTERM, SIGINT or SIGHUP; those in flight are finished, for up to 30 seconds.

    Args:
        settings: the store, the key and the limits.
        host: the address to listen on.
        port: its port; 0 for a free one, which is said.
        workers: processes; each opens the store for itself.
        access_log: write a line for each request.
        max_connections: how many each process takes at a time.
        request_seconds: how long a connection may take to send a whole request, or to read an answer.
        on_message: called with the address, and with a warning where the server is not safe.

    Raises:
        StoreUrlError: if the URL of a store cannot be read.
        PitJoinError: if the port cannot be listened on.
    """
    _look_at_stores(settings, on_message)
    if settings.api_key is None and not _is_local(host):
        on_message(
            f"warning: anyone who can reach {host} can read all features; set PIT_JOIN_API_KEY, or listen on 127.0.0.1"
        )
    allowed, at_once = raise_descriptors(max_connections)
    if allowed < max_connections:
        on_message(
            f"warning: this process may open few files, so that it takes {allowed:,} connections at a time, and not "
            f"{max_connections:,}; raise the limit (ulimit -n, or LimitNOFILE= in a unit of systemd)"
        )
    if settings.hosts is None and settings.api_key is None and _is_local(host):
        settings = replace(settings, hosts=_LOCAL | {host.lower(), f"[{host}]"})
    config = uvicorn.Config(
        partial(make_app, settings, partial(_start, Bounds(allowed, request_seconds))),
        factory=True,
        http=BoundedConnection,
        backlog=at_once,
        workers=workers,
        lifespan="on",
        ws="none",
        access_log=access_log,
        log_level="info" if access_log else "warning",
        server_header=False,
        proxy_headers=access_log,  # only the access log needs the address of the client
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    with _listening(host, port, at_once) as listener:
        shown = f"[{host}]" if ":" in host else host
        on_message(f"http://{shown}:{listener.getsockname()[1]}/ serves {store_url(settings.store)}")
        if workers == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)  # uvicorn has obeyed it, and raises it once more at the end
            _Server(config).run(sockets=[listener])
            return
        folder = tempfile.mkdtemp(prefix="pit-join-metrics-")
        os.environ[SHARED_FOLDER] = folder
        try:
            supervisor = _Workers(config, sockets=[listener])
            supervisor.run()
            if supervisor.problem:
                raise PitJoinError(supervisor.problem)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _look_at_stores(settings: Settings, on_message: Callable[[str], None]) -> None:
    """Refuse a URL that cannot be read, and say what an operator should know of a store; one that is down may come."""
    for url in (settings.store, *settings.stores.values()):
        try:
            with closing(open_store(url)) as store:
                for message in store.warnings():
                    on_message(f"warning: {message}")
        except StoreError as error:  # of one that is down each worker says so
            if isinstance(error, StoreUrlError):
                raise


class _Server(uvicorn.Server):
    """One process, which at its end answers what clients have sent; uvicorn resets what it has not read yet."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the connections that wait, close the listeners, and then each connection after its answer.

        One without a request is closed a second later; it may send one meanwhile.
        """
        loop, waiting = asyncio.get_running_loop(), list[socket.socket]()
        for listener in sockets or ():
            with suppress(OSError):  # no further one waits
                for _ in range(self.config.backlog):
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        make = partial(BoundedConnection, self.config, self.server_state, self.lifespan.state)
        for each in waiting:
            with suppress(OSError):  # the client has left
                await loop.connect_accepted_socket(make, each)
        connections = cast("set[BoundedConnection]", self.server_state.connections)
        bounds: Bounds = self.lifespan.state["bounds"]
        bounds.ending = True
        for held in connections:
            held.end()
        until = loop.time() + _LINGER_SECONDS
        while connections and loop.time() < until and not self.force_exit:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


class _Worker(Process):
    """One of several processes."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run in the new process."""
        self._server = _Server(self.config)
        super().target(sockets)


class _Workers(Multiprocess):
    """The processes of one server; one that dies is replaced, which is said."""

    problem = ""
    """Why the server has ended, if nobody has asked for it."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        self._failures = 0  # of young processes, in a row
        self._began: dict[Process, float] = {}
        super().__init__(config, sockets)

    def init_processes(self) -> None:
        """Start all processes."""
        self.processes = [self._started() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Replace processes that have died, or do not answer."""
        for number, each in enumerate(self.processes):
            if self.should_exit.is_set() or each.is_alive(self.config.timeout_worker_healthcheck):
                continue
            each.kill()
            each.join()
            young = time.monotonic() < self._began.pop(each, 0.0) + _YOUNG_SECONDS
            failed = young and (each.exitcode or 0) > 0  # one that was killed has a negative status
            self._failures = self._failures + 1 if failed else 0
            if each.exitcode == STARTUP_FAILURE or self._failures >= _MOST_FAILURES:  # as the next one would
                self.problem = f"the workers end when they start (exit status {each.exitcode})"
                self.should_exit.set()
                return
            _log.warning("the worker %s has died (exit status %s); another replaces it", each.pid, each.exitcode)
            self.processes[number] = self._started()

    def terminate_all(self) -> None:
        """End all processes; the last one closes the port."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def handle_ttin(self) -> None:
        """Add a process."""
        self.processes_num += 1
        self.processes.append(self._started())

    def handle_hup(self) -> None:
        """End as a server with one process does."""
        self.handle_term()

    def _started(self) -> Process:
        process = _Worker(self.config, self.sockets)
        self._began[process] = time.monotonic()
        process.start()
        return process


def _start(bounds: Bounds) -> dict[str, Bounds]:
    """Prepare a process in its event loop: it ends when its parent has, or when its terminal hangs up."""
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=[parent.sentinel], daemon=True).start()
    return start_connections(bounds)


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _listening(host: str, port: int, waiting: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only on a socket whose protocol is TCP by name.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(waiting)
    except OSError as error:
        listener.close()
        raise PitJoinError(f"cannot listen on {host}, port {port}: {error}; give another --host or --port") from error
    return listener


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
