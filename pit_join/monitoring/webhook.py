"""Alerts as JSON to a URL. Outside world: an HTTP server."""

from __future__ import annotations

import base64
import ssl
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from pit_join.errors import PitJoinError
from pit_join.json_values import json_text
from pit_join.monitoring.alerts import alert_json, in_time, network_problem, read_url

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring

__all__ = ["Webhook", "read_webhook"]

_SECONDS, _PAUSE_SECONDS = 5.0, 1.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """The receiver of alerts behind an http or https URL, whose path and password are secrets."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    authorization: str | None = field(repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"

    def send(self, monitoring: Monitoring) -> None:
        """Post what a run has found; nothing if it has found nothing.

        Redirects are not followed, proxies of the environment are not used, and the body of the answer is not read.
        Each of two attempts may take five seconds; the second follows a failed connection or a status from 500 on.

        Raises:
            PitJoinError: if the receiver cannot be reached, or does not take the alert.
        """
        if (alert := alert_json(monitoring)) is None:
            return
        body = json_text(alert).encode()
        problem, passing = self._attempt(body)
        if passing:
            time.sleep(_PAUSE_SECONDS)
            problem, _ = self._attempt(body)
        if problem:
            raise PitJoinError(f"the alert to {self} was not taken: {problem}")

    def _attempt(self, body: bytes) -> tuple[str, bool]:
        """Return why an attempt failed, empty if it did not, and whether another one may help."""
        try:
            status = in_time(_SECONDS, partial(self._post, body))
        except OSError as error:  # after a timeout a second alert might be taken, too
            return network_problem(error), not isinstance(error, (TimeoutError, ssl.SSLError))
        except HTTPException as error:  # its text is what the server has sent
            return f"the answer is not HTTP ({type(error).__name__})", True
        if 300 <= status < 400:
            return f"the answer has status {status}, and redirects are not followed", False
        return ("" if 200 <= status < 300 else f"the answer has status {status}"), status >= 500

    def _post(self, body: bytes) -> int:
        connection = (
            HTTPSConnection(self.host, self.port, timeout=_SECONDS, context=ssl.create_default_context())
            if self.scheme == "https"
            else HTTPConnection(self.host, self.port, timeout=_SECONDS)
        )
        headers = {"Content-Type": "application/json", "User-Agent": "pit-join", "Connection": "close"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        with closing(connection):
            connection.request("POST", self.path, body, headers)
            return connection.getresponse().status


def read_webhook(url: str) -> Webhook:
    """Read the URL of a receiver of alerts; a user and a password in it are sent as HTTP Basic.

    Raises:
        RequestError: if it is not an http or https URL; the message has no part of it.
    """
    parts = read_url(url, ("https", "http"), "the webhook")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authorization = None
    if parts.username is not None:
        pair = b":".join(map(unquote_to_bytes, (parts.username, parts.password or "")))
        authorization = f"Basic {base64.b64encode(pair).decode()}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Webhook(parts.scheme, str(parts.hostname), port, path, authorization)
