"""Open an online store by its URL; this module knows no store by name."""

from __future__ import annotations

import importlib
import pkgutil

from pit_join.errors import StoreError
from pit_join.online import stores
from pit_join.online.protocol import OnlineStore
from pit_join.online.urls import cache_limits, is_remote, store_url, without_cache_options

__all__ = ["open_store"]


def open_store(url: str, *, create: bool = False) -> OnlineStore:
    """Open a store by its URL, or by a path for the embedded one.

    Args:
        url: a folder, or such as `redis://host:6379/0`.
        create: make an embedded store that does not exist yet.

    Raises:
        StoreError: if there is no such store, or it cannot be used.
    """
    scheme = url.split("://", 1)[0].lower() if is_remote(url) else ""
    try:
        return _open(scheme, url, create)
    except (TypeError, ValueError) as error:  # what a library says of a port or an option that it does not know
        what = f"{store_url(url)} cannot be read as the URL of an online store"
        if isinstance(error, ValueError) and store_url(url) != url:
            # The library may repeat a part of a password, which must be in no message or traceback.
            raise StoreError(f"{what}; in a user name or password write %2F for /, %5B for [, %3F for ?") from None
        raise StoreError(f"{what}: {error}") from error


def _open(scheme: str, url: str, create: bool) -> OnlineStore:
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
    raise StoreError(
        f"no online store is known for {store_url(url)}; give a folder, or a URL that begins with "
        + " or ".join(f"{known}://" for known in sorted(schemes))
    )
