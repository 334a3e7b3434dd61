"""Open an online store by its URL; this module knows no store by name."""

from __future__ import annotations

import importlib
import pkgutil
import re

from pit_join.errors import StoreUrlError
from pit_join.online import stores
from pit_join.online.protocol import OnlineStore
from pit_join.online.urls import cache_limits, is_folder, store_url, without_cache_options

__all__ = ["open_store"]

_FORM = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?OPTION=VALUE&...], or for Sentinel "
    "redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../SERVICE[/DATABASE]"
)
# What libraries say of a URL, and what is said instead: their words may repeat a part of a password.
_REASONS = {
    r"unexpected keyword argument '(\w+)'": "its option '{}' is unknown",
    r"Invalid value for '(\w+)'": "its option '{}' has a wrong value",
    r"SSL Certificate Requirements": "its option 'ssl_cert_reqs' has a wrong value",
    r"\b[Pp]ort\b": "its port is not a number up to 65535",
    "": f"its form is {_FORM}",
}


def open_store(url: str, *, create: bool = False) -> OnlineStore:
    """Open a store by its URL, or by a path for the embedded one.

    Args:
        url: a folder, or such as `redis://host:6379/0`.
        create: make an embedded store that does not exist yet.

    Raises:
        StoreError: if there is no such store, or it cannot be used.
        StoreUrlError: if the URL cannot be read; the message has no secret of it.
    """
    if is_folder(url):
        return _open("", url, create)
    scheme, slashes, _ = url.partition("://")
    if not slashes:
        raise StoreUrlError(
            f"the name of the online store begins like a URL, but has no '://'; write {_FORM}, or ./NAME for a folder "
            "of such a name"
        )
    try:
        return _open(scheme.lower(), url, create)
    except (TypeError, ValueError) as error:
        found = ((re.search(pattern, str(error)), reason) for pattern, reason in _REASONS.items())
        what = next(reason.format(*match.groups()) for match, reason in found if match)
    raise StoreUrlError(
        f"{store_url(url)} cannot be read as the URL of an online store: {what}; in a user name or password write %2F "
        "for /, %3F for ?, %23 for #, %40 for @, %5B for ["
    )


def _open(scheme: str, url: str, create: bool) -> OnlineStore:
    shown = store_url(url)
    if scheme:
        cache_limits(url)  # refuses limits that it cannot read
        url = without_cache_options(url)
    schemes = []
    for found in pkgutil.iter_modules(stores.__path__):
        module = importlib.import_module(f"{stores.__name__}.{found.name}")
        if scheme in module.SCHEMES:
            store: OnlineStore = module.open_store(url, create=create)
            return store
        schemes += [known for known in module.SCHEMES if known]
    raise StoreUrlError(
        f"no online store is known for {shown}; give a folder, or a URL that begins with "
        + " or ".join(f"{known}://" for known in sorted(schemes))
    )
