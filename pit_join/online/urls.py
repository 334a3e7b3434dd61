"""URLs of online stores: their names, their folders, and the options of the cache in their query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from pit_join.errors import StoreUrlError, option

__all__ = [
    "CacheLimits", "cache_limits", "check_urls", "folder_of", "how_to_name", "is_folder", "is_remote", "store_url",
    "without_cache_options",
]  # fmt: skip

_CACHE_OPTIONS = {"cache_mb": "64", "cache_seconds": "0"}
# The options that are shown in messages, and what their values look like if nothing else is hidden in them.
_SHOWN = {**dict.fromkeys((*_CACHE_OPTIONS, "timeout"), r"[\d.]*"), "prefix": r"[\w.-]*"}
_HOST = r"(\[[^\]@]*\]|[^:/@,]*)(:\d+)?"
_PLACE = re.compile(rf"{_HOST}(/\d*)?")
_SENTINELS = re.compile(rf"{_HOST}(,{_HOST})*(/[\w.-]+(/\d*)?)?")
# What was meant as a URL, and not as the name of a folder; a drive of Windows has one letter.
_NEARLY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|(redis|rediss)\W.*@|(//)?[^/]*:([^/]*@|\d+(/\d*)?\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Limits of a cache: the bytes of records that it keeps, and the seconds for which it serves them unasked."""

    bytes: int
    seconds: float


def is_remote(url: str) -> bool:
    """Return whether a store is reached over a network, by its URL."""
    return "://" in url


def check_urls(urls: Mapping[str, str]) -> None:
    """Refuse two names for one store: an export under one name would delete what the other exported.

    Raises:
        StoreUrlError: naming the two.
    """
    names: dict[str, str] = {}
    for name, url in urls.items():
        other = names.setdefault(url, name)
        if other != name:
            raise StoreUrlError(
                f"the online stores '{other or 'default'}' and '{name or 'default'}' are one, {store_url(url)}; give "
                "each a folder of its own, or of a server a prefix of its own (?prefix=NAME)"
            )


def how_to_name(store: str) -> str:
    """Return advice on setting the URL of a named store."""
    given = option(f"online_stores={{'{store}': URL}}", f"--store {store}=URL")
    return f"give {given}, or set PIT_JOIN_ONLINE_STORE_{store.upper()}"


def is_folder(url: str) -> bool:
    """Return whether a store is a folder, by its URL; text that is neither a folder nor a URL is refused elsewhere."""
    return not is_remote(url) and not _NEARLY.match(url)


def folder_of(url: str) -> Path | None:
    """Return the folder of an embedded store, by its URL; None for a remote one."""
    return None if is_remote(url) else Path(url)


def store_url(url: str) -> str:
    """Return a store's URL for messages: without user and password, and with the values of harmless options only.

    Of what cannot be told apart from a password nothing is shown.

    >>> store_url("rediss://app:secret@host:6379/0?prefix=a&ssl_password=secret")
    'rediss://host:6379/0?prefix=a&ssl_password=***'
    >>> store_url("redis://app:secret")
    'redis://app:***'
    """
    if not is_remote(url):
        return url if is_folder(url) else "***"
    scheme, _, rest = url.partition("://")
    before, _, after = rest.rpartition("@")
    if "?" in before:  # a password with a question mark, or an option with an @
        return f"{scheme}://***"
    place, _, query = after.partition("#")[0].partition("?")
    if not (_SENTINELS if scheme.endswith("+sentinel") else _PLACE).fullmatch(place):
        place = f"{place.partition(':')[0].partition('/')[0]}:***"
    shown = [
        f"{name}={value if name in _SHOWN and re.fullmatch(_SHOWN[name], value) else '***'}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{scheme}://{place}" + (f"?{'&'.join(shown)}" if shown else "")


def cache_limits(url: str) -> CacheLimits | None:
    """Return the limits of a store's cache, by its URL; None for a store that is not cached.

    The limits are `cache_mb` (64) and `cache_seconds` (0) in the query of a URL; an embedded store is never cached.

    >>> cache_limits("redis://host:6379/0?cache_mb=1&cache_seconds=0.5")
    CacheLimits(bytes=1048576, seconds=0.5)

    Raises:
        StoreUrlError: if a limit is not a number.
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
            raise StoreUrlError(f"{store_url(url)}: {name} is a number, 0 or more")
        found.append(number)
    return CacheLimits(int(found[0] * 2**20), found[1]) if found[0] else None


def without_cache_options(url: str) -> str:
    """Return the URL as the store itself reads it."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in _CACHE_OPTIONS]
    return parts._replace(query=urlencode(options)).geturl()
