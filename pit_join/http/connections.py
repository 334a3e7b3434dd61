"""The connections of the server within bounds: their number, the time of a request, the size of its head.

uvicorn has no bound for a connection that sends nothing, a request that does not end, or the head of a request.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import resource
import struct
import termios
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pit_join.http.seldom import Seldom

__all__ = ["HEAD_BYTES", "BoundedConnection", "Bounds", "raise_descriptors", "start_connections"]

HEAD_BYTES = 65_536
"""The largest head of a request: its first line and its headers."""

_FLUSH_SECONDS = 5.0
_OTHER_FILES = 256  # stores, logs, connections to network stores
_AT_ONCE = 2048
_FEWEST = 16


@dataclass
class Bounds:
    """The bounds of one process: the most connections, and the seconds within which a request must have come.

    `waiting` are the connections whose request has not come, the one that has waited longest first. When the process is
    `ending`, the answer to the newest request of a connection is its last one.
    """

    connections: int
    seconds: float
    waiting: OrderedDict[BoundedConnection, None] = field(default_factory=OrderedDict)
    say: Seldom = field(default_factory=Seldom)
    ending: bool = False


def raise_descriptors(connections: int) -> tuple[int, int]:
    """Raise the limit of open files, which workers inherit, for a number of connections.

    Returns:
        how many connections a process may take, and how many of them at once: asyncio takes all that wait in one step.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _AT_ONCE + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections, _AT_ONCE
    room = max(2 * _FEWEST, soft - _OTHER_FILES)
    at_once = min(_AT_ONCE, max(_FEWEST, room // 4))
    return min(connections, room - at_once), at_once


def start_connections(bounds: Bounds) -> dict[str, Bounds]:
    """Prepare the running event loop, and return the state in which its connections find their bounds."""
    _warn_of_descriptors(asyncio.get_running_loop())
    return {"bounds": bounds}


def _warn_of_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    """Warn once a minute where the process can open no more files; asyncio writes thousands of traces a second."""
    seldom = Seldom()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if getattr(context.get("exception"), "errno", None) in (errno.EMFILE, errno.ENFILE):
            seldom("no connection can be accepted, since too many files are open; raise the limit (LimitNOFILE=)")
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


class BoundedConnection(HttpToolsProtocol):
    """One connection of uvicorn's, within the `bounds` in the state of the application's lifespan.

    Where all connections are taken, the one whose request has not come for the longest time makes room.
    """

    _timer: asyncio.TimerHandle | None = None  # until the request has come
    _stuck: asyncio.TimerHandle | None = None  # until the client has read
    _in_head = False
    _head = _unparsed = _heads = 0
    _unread = 0  # of the bytes that had arrived when the end began: reading pauses while requests wait

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room."""
        super().connection_made(transport)
        self._bounds: Bounds = self.app_state["bounds"]
        if len(self.connections) > self._bounds.connections:
            if not self._bounds.waiting:
                self._bounds.say(f"all {self._bounds.connections:,} connections are at work; a further one is refused")
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the server has no room for another connection; try later")
                return
            self._bounds.say(f"all {self._bounds.connections:,} connections are taken; those that wait make room")
            oldest, _ = self._bounds.waiting.popitem(last=False)
            oldest.transport.abort()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._came()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and refuse a head that is too large before it is kept."""
        self._unset_keepalive_if_required()
        if self._timer is None and self._idle:
            self._wait()
        for start in range(0, len(data), HEAD_BYTES):
            part = data[start : start + HEAD_BYTES]
            heads, before = self._heads, self._in_head
            try:
                with suppress(httptools.HttpParserUpgrade):  # a client that would like HTTP/2 goes on in HTTP/1.1
                    self.parser.feed_data(part)
            except httptools.HttpParserError:
                if self._head <= HEAD_BYTES:
                    self._refuse(HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1")
            # Of a line that has not ended the parser says nothing.
            same = before and self._in_head and self._heads == heads
            self._unparsed = self._unparsed + len(part) if same else 0
            if max(self._head, self._unparsed) > HEAD_BYTES:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"the head of the request is larger than {HEAD_BYTES:,} bytes",
                )
            if self.transport.is_closing():
                return
        if self._bounds.ending:
            self._unread -= len(data)
            self._close_after_answer()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Let a client that sends nothing more have its answer; asyncio would close the connection."""
        due = not self._idle and self._timer is None
        if due:
            self.cycle.keep_alive = False
        return due

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head, self._head, self._heads = True, 0, self._heads + 1
        if self._timer is None:
            self._wait()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the first line."""
        self._take(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._take(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._in_head = False
        if self.parser.should_upgrade() and {b"content-length", b"transfer-encoding"} & dict(self.headers).keys():
            # The parser takes the body for the other protocol.
            self._refuse(
                HTTPStatus.BAD_REQUEST,
                "a request with a body cannot ask for another protocol (Upgrade); use HTTP/1.1, in Java by "
                "HttpClient.Version.HTTP_1_1",
            )
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait no longer: the request is whole."""
        self._came()
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, and make room for another connection until it comes."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.timeout_keep_alive_task is not None:
            self._bounds.waiting[self] = None

    def end(self) -> None:
        """Answer the requests that have arrived, even those that are not read yet, and then close."""
        unread = fcntl.ioctl(self.transport.get_extra_info("socket"), termios.FIONREAD, bytes(struct.calcsize("i")))
        (self._unread,) = struct.unpack("i", unread)
        self._close_after_answer()

    def shutdown(self) -> None:
        """End the connection now, or after the answer to the request that has come, or has begun to."""
        if self._idle and not self._in_head:
            self._close()
        else:
            self._close_after_answer()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection on which no further request has come."""
        self._close()

    def pause_writing(self) -> None:
        """Give a client that does not read a while."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self._bounds.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, since it reads."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    @property
    def _idle(self) -> bool:
        """Whether no answer is due."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _close_after_answer(self) -> None:
        """Let the answer to the newest request be the last one, once all that arrived before the end is read."""
        if self._unread <= 0 and not self._idle:
            self.cycle.keep_alive = False

    def _wait(self) -> None:
        self._bounds.waiting[self] = None
        self._timer = self.loop.call_later(self._bounds.seconds, self._has_not_come)

    def _came(self) -> None:
        self._bounds.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _has_not_come(self) -> None:
        self._timer = None
        if self._in_head or not self._idle:
            seconds = f"{self._bounds.seconds:g} s"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request was not sent whole within {seconds}")
        else:
            self._close()

    def _take(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES:
            raise ValueError  # which the parser passes on as an error of its own

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer outside of the application, unless it is at work on an answer to another request; and close."""
        if self.transport.is_closing():
            return
        if self._idle or not (self._in_head or self.pipeline or self.cycle.response_started):
            body = json.dumps({"detail": detail}).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head.encode(), len(body), body))
        self._close()

    def _close(self) -> None:
        """Close when the client has read what is written, which it must do soon."""
        self.transport.close()
        self.loop.call_later(_FLUSH_SECONDS, self.transport.abort)
