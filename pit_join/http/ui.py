"""The page of `pit-join report`, as the server shows it. Outside world: its file."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response

from pit_join.errors import PitJoinError
from pit_join.report.page import policy_of

__all__ = ["read_page", "ui_response"]


def read_page(path: str) -> tuple[bytes, str]:
    """Return the page as its file is now, and its Content-Security-Policy.

    Raises:
        PitJoinError: if it cannot be read, or `pit-join report` did not write it.
    """
    try:
        page = Path(path).read_bytes()
    except OSError as error:
        raise PitJoinError(f"the page {path} cannot be read: {error.strerror or error}") from error
    try:
        return page, policy_of(page)
    except PitJoinError as error:
        raise PitJoinError(f"the page {path} cannot be shown: {error}") from error


def ui_response(path: str) -> Response:
    """Return the page with headers under which nothing but its own script runs, and no other page frames it.

    Raises:
        PitJoinError: see `read_page`.
    """
    page, policy = read_page(path)
    headers = {
        "content-security-policy": f"{policy}; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(page, media_type="text/html", headers=headers)
