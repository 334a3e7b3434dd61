"""Alerts: what is sent of a run of monitoring, to which URLs, and within which time."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from pit_join.errors import RequestError
from pit_join.json_values import time_text

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring

__all__ = ["alert_json", "in_time", "network_problem", "read_url"]

_MOST_BREACHES = 1_000
_OF_A_BREACH = ("check", "view", "feature", "place", "value", "bound", "text", "impact", "owner")

_T = TypeVar("_T")


def alert_json(monitoring: Monitoring) -> dict[str, Any] | None:
    """Return what is sent of a run as plain values; None if nothing was found and everything was looked at.

    Neither details nor the reasons why something could not be looked at are sent: these may quote feature values.
    """
    if not monitoring.found and not monitoring.unchecked:
        return None
    breaches = monitoring.breaches
    return {
        "project": monitoring.project,
        "target": monitoring.target,
        "now": time_text(monitoring.now, True),
        "run_at": time_text(datetime.now(timezone.utc), True),
        "found": monitoring.found,
        "breaches": [{name: getattr(each, name) for name in _OF_A_BREACH} for each in breaches[:_MOST_BREACHES]],
        "left_out": max(0, len(breaches) - _MOST_BREACHES),
        # A reason follows a colon.
        "unchecked": list(dict.fromkeys(re.split(r": |\n", each, maxsplit=1)[0] for each in monitoring.unchecked)),
    }


def read_url(url: str, schemes: Collection[str], what: str) -> SplitResult:
    """Split a URL that may hold secrets, and check it.

    Args:
        url: the URL.
        schemes: the schemes that it may have.
        what: how the message begins.

    Raises:
        RequestError: if it is not such a URL; the message has no part of it.
    """
    try:
        parts = urlsplit(url)
        # A password with a slash ends the host too early; with digits alone before it, it would look like a port.
        unclear = parts.port is not None and "@" not in parts.netloc and "@" in url
        printable = re.fullmatch(r"[!-~]+", url)  # urlsplit() removes line ends silently
        if printable and not unclear and parts.scheme in schemes and parts.hostname and parts.port != 0:
            parts.hostname.encode("idna")  # else it fails where it is looked up
            return parts
    except ValueError:
        pass
    begins = " or ".join(f"{scheme}://" for scheme in schemes)
    raise RequestError(
        f"{what} must be a URL that begins with {begins} and names a host; percent-encode special characters in a "
        "user or a password"
    )


def in_time(seconds: float, act: Callable[[], _T]) -> _T:
    """Call a function, and wait for its result no longer than that many seconds.

    A timeout of a socket is one for each packet, and looking up a host has none. A call that is late goes on in a
    thread that keeps no process from ending.

    Raises:
        TimeoutError: if it is late.
    """
    done: Future[_T] = Future()

    def run() -> None:
        try:
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="pit-join-alert", daemon=True).start()
    try:
        return done.result(seconds)
    except LateError:  # another class than the built-in one before Python 3.11
        raise TimeoutError from None


def network_problem(error: OSError) -> str:
    """Return what failed in a connection, in words that hold nothing of what was sent."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no secure connection ({getattr(error, 'verify_message', error.reason)})"
    return f"the connection failed ({error.strerror or type(error).__name__})"
