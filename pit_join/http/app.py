"""The HTTP server as an application: paths, the key, limits, and errors in one form. It knows no sockets.

An answer from the embedded store takes microseconds, less than a thread would; only what is large, or goes over a
network, is computed in a thread, so that other requests do not wait.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pit_join.errors import PitJoinError, StoreError
from pit_join.feature_store import FeatureStore
from pit_join.http.access import challenge, has_key
from pit_join.http.answers import ARROW, FLOATS, JSON, Reply, chosen_form, dumps, reply
from pit_join.http.metrics import CONTENT_TYPE_LATEST, Metrics
from pit_join.http.nearest import nearest
from pit_join.http.openapi import document, page
from pit_join.http.readers import Asked, LateError, Readers
from pit_join.http.requests import read_request
from pit_join.http.seldom import Seldom
from pit_join.http.services import services_as_json
from pit_join.http.ui import ui_response
from pit_join.monitoring.feature_log import FeatureLog
from pit_join.online.urls import is_remote
from pit_join.serving.reader import DEADLINE, OnlineReader, StoreChangedError

__all__ = ["Settings", "make_app"]

_START_SECONDS = 10.0
_SMALL_BODY = 65_536  # bytes
_FEW_VALUES = 5_000
_READ_ON = 16  # times as much as is allowed
_LONGEST_DETAIL = 2_000
# An answer does not name the place of a store, which the message of the error does.
_NOT_PREPARED = "this request is new, or so is the export, and it cannot be prepared within the deadline; ask again"
_NO_UI = "the page is missing or broken; the log says more"
_NO_STORE = "the online store cannot be read, or nothing was exported to it; the log says more"
_OPEN = ("/health", "/ready")
_PORT = re.compile(r":\d*$")
# What `curl -d` says of a body, as in Feast's documentation; and nothing at all.
_BODY_TYPES = ("", JSON, "application/x-www-form-urlencoded")

_log = logging.getLogger("pit_join")
_Handler = Callable[[Request, Exception], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server: its stores, its API key (or None), its limits, and its feature log.

    `store` is the default one, `stores` are others by name; `strict` and `deadline` are those of
    `FeatureStore.online_reader`. Ages are judged as of `now` (with a time zone); None is the clock's. `hosts` are the
    names by which requests may call the server; None for any. `textfile` is that of monitoring, for the metrics, and
    `report` the page that is shown at /ui.
    """

    store: str = field(repr=False)
    stores: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_key: str | None = field(default=None, repr=False)
    max_body_bytes: int = 4_194_304
    max_rows: int = 10_000
    feature_log: str | None = None
    log_sample: float = 0.01
    strict: bool = False
    deadline: float = DEADLINE
    now: datetime | None = None
    hosts: frozenset[str] | None = None
    textfile: Path | None = None
    report: str | None = None


def make_app(settings: Settings, start: Callable[[], Mapping[str, Any]] = dict) -> ASGIApp:
    """Make the application, which opens the stores when it starts.

    `start` is called in the event loop; what it returns is the state for the server's connections.
    """
    served = _Server(settings, start)
    handlers: dict[type[Exception], _Handler] = {
        HTTPException: _http_error, PitJoinError: served.refused, ClientDisconnect: _gone, Exception: _broken,
    }  # fmt: skip
    app = Starlette(
        routes=[
            Route("/get-online-features", served.get_online_features, methods=["POST"]),
            Route("/nearest", served.nearest, methods=["POST"]),
            Route("/feature-services", served.feature_services, methods=["GET"]),
            Route("/health", served.health, methods=["GET"]),
            Route("/ready", served.ready, methods=["GET"]),
            Route("/metrics", served.show_metrics, methods=["GET"]),
            Route("/openapi.json", served.openapi, methods=["GET"]),
            Route("/", served.page, methods=["GET"]),
            *([Route("/ui", served.ui, methods=["GET"])] if settings.report else []),
        ],
        exception_handlers=dict(handlers),
        lifespan=served.lifespan,
    )
    app.router.redirect_slashes = False
    direct = {("POST", "/get-online-features"): _direct(served.get_online_features, handlers)}
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    return _Guard(app, direct, settings, served.metrics, paths)


def _direct(
    endpoint: Callable[[Request], Awaitable[Response]], handlers: Mapping[type[Exception], _Handler]
) -> ASGIApp:
    """An endpoint as an application: Starlette's routes and layers would take longer than reading some features."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:
            kind = next(kind for kind in handlers if isinstance(error, kind))
            refusal = await handlers[kind](request, error)
            await refusal(scope, receive, send)
            if kind is Exception:
                raise
        else:
            await response(scope, receive, send)

    return app


class _Server:
    """The answers to each path."""

    def __init__(self, settings: Settings, start: Callable[[], Mapping[str, Any]]) -> None:
        self._settings, self._start = settings, start
        self._log = None
        if settings.feature_log is not None:
            self._log = FeatureLog(settings.feature_log, settings.log_sample, on_rows=self._logged)
        self._store = FeatureStore(online_store=settings.store, online_stores=settings.stores, feature_log=self._log)
        self._embedded = not any(map(is_remote, (settings.store, *self._store.online_stores.values())))
        self._say = Seldom()
        self._readers = Readers(self._new_reader)
        self.metrics = Metrics(self._store.online_contents, settings.textfile)

    def _logged(self, outcome: str, rows: int) -> None:
        self.metrics.logged(outcome, rows)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        """Prepare all services before the first request; flush the feature log when the process ends."""
        state = self._start()
        await self._prepare()
        yield state
        self._readers.close()
        if self._log is not None:
            await run_in_threadpool(self._log.close)

    async def get_online_features(self, request: Request) -> Response:
        form = chosen_form(_headers(request).get(b"accept", b""))
        if form is None:
            raise HTTPException(406, f"answers are {JSON}, {ARROW} or {FLOATS}; name one of them in Accept")
        body = await _body(request, self._settings.max_body_bytes)
        try:
            written = await self._reply(body, form, time.monotonic() + self._settings.deadline)
        except LateError:
            raise HTTPException(503, _NOT_PREPARED, {"retry-after": "1"}) from None
        for (view, status), number in written.statuses.items():
            self.metrics.values(view, status, number)
        if written.failures:
            self.metrics.store_error()
            for reason in set(written.failures.values()):
                self._say(f"defaults are served: {reason}")
        return _QuickResponse(written, form)

    async def nearest(self, request: Request) -> Response:
        body = await _body(request, self._settings.max_body_bytes)
        content = await run_in_threadpool(nearest, body, self._store, self._settings.max_rows, self._settings.now)
        return Response(content, media_type=JSON)

    async def _reply(self, body: bytes, form: str, until: float) -> Reply:
        """Answer a request; see `Readers` for what it may wait for."""
        settings, large = self._settings, len(body) > _SMALL_BODY
        wanted = (
            await run_in_threadpool(read_request, body, settings.max_rows)
            if large
            else read_request(body, settings.max_rows)
        )
        asked = (wanted.features, wanted.full_feature_names)
        reader = await self._readers.get(asked, until)
        answer = partial(reply, wanted, reader, form, settings.now, until)
        while True:
            values = wanted.rows * len(reader.names)
            in_thread = large or not self._embedded or form == ARROW or reader.on_demand or values > _FEW_VALUES
            try:
                return await run_in_threadpool(answer) if in_thread else answer()
            except StoreChangedError:
                await self._readers.renewed(asked, reader, until)

    def _new_reader(self, asked: Asked) -> OnlineReader:
        features, full_feature_names = asked
        reader = self._store.online_reader(
            features if isinstance(features, str) else list(features),
            full_feature_names=full_feature_names,
            strict=self._settings.strict,
            deadline=self._settings.deadline,
        )
        reader.renews = False
        reader.load()
        reader.warn_of_later_exports(self._settings.now)
        return reader

    async def _prepare(self) -> None:
        """Open the stores, and prepare the feature services; a store that is down does not keep the server from it."""
        try:
            contents = await run_in_threadpool(self._store.online_contents)
        except PitJoinError as error:
            _log.warning("%s", error)
            return
        await self._readers.prepare(((name, False) for name in contents.services), time.monotonic() + _START_SECONDS)

    async def feature_services(self, request: Request) -> Response:
        return _json_response(services_as_json(await run_in_threadpool(self._store.online_contents)))

    async def health(self, request: Request) -> Response:
        return _json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        try:
            await run_in_threadpool(self._store.online_contents)
        except PitJoinError as error:
            self.metrics.store_error()
            self._say(f"not ready: {error}")
            return _error(503, _NO_STORE)
        return _json_response({"status": "ready"})

    async def show_metrics(self, request: Request) -> Response:
        return Response(await run_in_threadpool(self.metrics.text), headers={"content-type": CONTENT_TYPE_LATEST})

    async def openapi(self, request: Request) -> Response:
        return _json_response(document(self._settings.api_key is not None))

    async def page(self, request: Request) -> Response:
        return Response(
            page(document(self._settings.api_key is not None)),
            media_type="text/html",
            headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    async def ui(self, request: Request) -> Response:
        try:
            return await run_in_threadpool(ui_response, str(self._settings.report))
        except PitJoinError as error:
            self._say(str(error))
            return _error(503, _NO_UI)

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer with the message of an error that the package raised."""
        if isinstance(error, StoreError):
            self.metrics.store_error()
            self._say(str(error))
            return _error(503, _NO_STORE)
        return _error(422, str(error))


class _QuickResponse(Response):
    """The response of its base class, made in a fraction of the time."""

    def __init__(self, written: Reply, form: str) -> None:
        self.status_code, self.background, self.body = HTTPStatus.OK.value, None, written.content
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", form.encode())]
        self.raw_headers += [(name.encode(), value.encode("latin-1")) for name, value in written.headers.items()]


def _headers(request: Request) -> dict[bytes, bytes]:
    """Return the headers by their names in lower case; of several with one name the first."""
    return dict(reversed(request.scope["headers"]))


async def _body(request: Request, most: int) -> bytes:
    """Return the whole body, which must be JSON by its content type.

    A body that is too large is read to its end and dropped: a client that is still sending would not see the answer.
    """
    headers = _headers(request)
    content_type = headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
    if content_type not in _BODY_TYPES:
        raise HTTPException(415, f"the body must be {JSON}, got {content_type}")
    if (encoding := headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()) not in ("", "identity"):
        raise HTTPException(415, f"the body must not be compressed, got Content-Encoding: {encoding}")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > most and b"expect" in headers:
        raise _too_large(most)  # the client asks before it sends
    parts, size, more = [], 0, True
    while more and size <= _READ_ON * most:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size <= most:
            parts.append(part)
    if size > most:
        raise _too_large(most)
    return b"".join(parts)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {most:,} bytes; ask in parts")


# Errors -------------------------------------------------------------------------------------------------------


def _json_response(content: Any, status: int = 200) -> Response:
    return Response(dumps(content), status, media_type=JSON)


def _error(status: int, detail: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    if len(detail) > _LONGEST_DETAIL:
        detail = f"{detail[:_LONGEST_DETAIL]}..."
    return Response(dumps({"detail": detail}), status, dict(headers), JSON)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    details = {404: f"there is no path {path}; GET / lists the paths", 405: f"{path} does not accept {request.method}"}
    return _error(error.status_code, details.get(error.status_code, error.detail), (error.headers or {}).items())


async def _gone(request: Request, error: Exception) -> Response:
    return _error(400, "the request was not sent whole")


async def _broken(request: Request, error: Exception) -> Response:
    # The log has the trace.
    return _error(500, "this is an error of the server; its log says more")


class _Guard:
    """The outermost layer: checks host and API key, counts and measures. `direct` bypass the application."""

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[tuple[str, str], ASGIApp],
        settings: Settings,
        metrics: Metrics,
        paths: Iterable[str],
    ) -> None:
        self._app, self._direct, self._metrics = app, direct, metrics
        self._key = None if settings.api_key is None else settings.api_key.encode()
        self._hosts = settings.hosts
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the start and the end of the process
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"]
        try:
            if self._hosts is not None and path not in _OPEN and not self._is_called_so(scope):
                refusal = "the server does not answer to the name in 'Host'; its operator may allow that name"
                await _error(421, refusal)(scope, receive, sent)
            elif self._key is None or path in _OPEN or has_key(scope["headers"], self._key, path):
                await self._direct.get((scope["method"], path), self._app)(scope, receive, sent)
            else:
                refusal, asked = challenge(path)
                await _error(401, refusal, [("www-authenticate", asked)])(scope, receive, sent)
        except Exception:  # the answer is sent; the connection may go on
            _log.exception("an error of the server")
        finally:
            # Unknown paths are counted as one: there is no bound to their number.
            self._metrics.request(path if path in self._paths else "other", status, time.perf_counter() - started)

    def _is_called_so(self, scope: Scope) -> bool:
        named = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
        return not named or _PORT.sub("", named) in (self._hosts or ())  # a browser never leaves it out
