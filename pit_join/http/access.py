"""The API key of a request: where it may stand, and how its absence is answered."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from functools import partial

__all__ = ["BASIC_PATHS", "challenge", "has_key"]

BASIC_PATHS = ("/ui",)
"""The paths that a person opens in a browser, which can ask for a password, and not for a header."""


def has_key(headers: Iterable[tuple[bytes, bytes]], key: bytes, path: str) -> bool:
    """Return whether a request has the key.

    It stands in a header, or, on a path for people, as the password of any user. Elsewhere a password does not count: a
    browser would send it along with what the page of another site asks for.
    """
    same = partial(hmac.compare_digest, key)
    for name, value in headers:
        if name == b"x-api-key" and same(value):
            return True
        if name == b"authorization":
            scheme, _, given = value.partition(b" ")
            if scheme.lower() == b"bearer" and same(given.strip()):
                return True
            if scheme.lower() == b"basic" and path in BASIC_PATHS and same(_password(given)):
                return True
    return False


def challenge(path: str) -> tuple[str, str]:
    """Return the refusal of a request without the key, and the value of its header WWW-Authenticate."""
    if path in BASIC_PATHS:
        return "give the API key as the password, with any user", 'Basic realm="pit-join", charset="UTF-8"'
    return "give the API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'", "Bearer"


def _password(given: bytes) -> bytes:
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
