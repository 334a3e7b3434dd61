"""URLs of online stores: their names, their folders, and the options of the cache in their query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from pit_join.errors import StoreError

__all__ = [
    "CacheLimits", "cache_limits", "check_urls", "folder_of", "how_to_name", "is_remote", "store_url",
    "without_cache_options",
]  # fmt: skip

_CACHE_OPTIONS = {"cache_mb": "64", "cache_seconds": "0"}


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How many bytes of records may be kept in process, and how long they may be served without asking the store."""

    bytes: int
    seconds: float


def is_remote(url: str) -> bool:
    """Whether a store is reached over a network, by its URL."""
    return "://" in url


def check_urls(urls: Mapping[str, str]) -> None:
    """Refuse two names for one store: what is exported to it under one of them would go under the other.

    Raises:
        StoreError: naming the two.
    """
    names: dict[str, str] = {}
    for name, url in urls.items():
        other = names.setdefault(url, name)
        if other != name:
            raise StoreError(
                f"the online stores '{other or 'default'}' and '{name or 'default'}' are one, {store_url(url)}; give "
                "each a folder of its own, or of a server a prefix of its own (?prefix=NAME)"
            )


def how_to_name(store: str) -> str:
    """How a user gives the URL of a store that has a name."""
    return f"give --store {store}=URL, or set PIT_JOIN_ONLINE_STORE_{store.upper()}"


def folder_of(url: str) -> Path | None:
    """The folder of an embedded store, by its URL."""
    return None if is_remote(url) else Path(url)


def store_url(url: str) -> str:
    """A store's URL without a password, for messages."""
    head, at, rest = url.rpartition("@")
    return f"{head.split('://')[0]}://{rest}" if at and "://" in head else url


def cache_limits(url: str) -> CacheLimits | None:
    """How much of a store may be kept in process, by its URL; None for nothing.

    That is `cache_mb` (64) and `cache_seconds` (0) in the query of a URL, and nothing of an embedded store.

    >>> cache_limits("redis://host:6379/0?cache_mb=1&cache_seconds=0.5")
    CacheLimits(bytes=1048576, seconds=0.5)

    Raises:
        StoreError: if they are no numbers.
    """
    if not is_remote(url):
        return None
    options = dict(parse_qsl(urlsplit(url).query))
    found = []
    for name, default in _CACHE_OPTIONS.items():
        given = options.get(name, default)
        try:
            number = float(given)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1e9:
            raise StoreError(f"{store_url(url)}: {name} is a number, 0 or more, got '{given}'")
        found.append(number)
    return CacheLimits(int(found[0] * 2**20), found[1]) if found[0] else None


def without_cache_options(url: str) -> str:
    """Return the URL as the store itself reads it."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in _CACHE_OPTIONS]
    return parts._replace(query=urlencode(options)).geturl()
