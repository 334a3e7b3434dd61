"""Prepared readers, one for each distinct request; what takes long is done in threads of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from pit_join.errors import StoreError
from pit_join.serving.prepared import PreparedReaders
from pit_join.serving.reader import OnlineReader

__all__ = ["Asked", "LateError", "Readers"]

_THREADS = 4  # one of them may wait for a store that does not answer

Asked = tuple[str | tuple[str, ...], bool]
"""References, or the name of a service; and whether names are full."""


class LateError(Exception):
    """A request could not be prepared before its deadline."""


class Readers:
    """The readers of one event loop: those of the services, and those that were asked for last.

    A reader is prepared when it is first asked for, and again after an export. Meanwhile other requests are answered,
    and one that has to wait longer than its deadline is late; the preparation goes on, for the next one.
    """

    def __init__(self, make: Callable[[Asked], OnlineReader]) -> None:
        self._make = make
        self._services: frozenset[Asked] = frozenset()
        self._kept: dict[Asked, OnlineReader] = {}  # those of the services, which no other requests displace
        self._ready = PreparedReaders[Asked]()  # all others
        self._others: asyncio.Future[None] | None = None
        self._coming: dict[Asked, asyncio.Future[OnlineReader]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pit-join-prepare")

    async def get(self, asked: Asked, until: float) -> OnlineReader:
        """Return the reader of a request, if it is ready before `until` (`time.monotonic`).

        Raises:
            LateError: if it is not.
            PitJoinError: if the store cannot be read, or does not have what is asked for.
        """
        return (
            self._kept.get(asked)
            or self._ready.get(asked)
            or await self._wait(asked, partial(self._make, asked), until)
        )

    async def renewed(self, asked: Asked, reader: OnlineReader, until: float) -> None:
        """Prepare a reader anew, since an export has changed the store; and all others, before they are asked for.

        Raises:
            LateError: if it takes longer than until then.
        """
        await self._wait(asked, partial(_renewed, reader), until)
        if self._others is None or self._others.done():
            self._others = asyncio.ensure_future(self._renew_others(reader))

    async def prepare(self, services: Iterable[Asked], until: float) -> None:
        """Prepare the readers of the services, as far as the time allows and nothing is wrong with them."""
        self._services = frozenset(services)
        begun = [self._begin(asked, partial(self._make, asked)) for asked in self._services]
        if begun:
            await asyncio.wait(begun, timeout=max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _renew_others(self, renewed: OnlineReader) -> None:
        """One by one, so that threads are left for those that are asked for meanwhile."""
        for asked, reader in {**self._ready.all(), **self._kept}.items():
            if not reader.is_current(renewed):
                await asyncio.wait([self._begin(asked, partial(_renewed, reader))])

    async def _wait(self, asked: Asked, act: Callable[[], OnlineReader], until: float) -> OnlineReader:
        future = self._begin(asked, act)
        done, _ = await asyncio.wait([future], timeout=max(0.0, until - time.monotonic()))
        if not done:
            raise LateError
        return future.result()

    def _begin(self, asked: Asked, act: Callable[[], OnlineReader]) -> asyncio.Future[OnlineReader]:
        if asked not in self._coming:
            self._coming[asked] = asyncio.get_running_loop().run_in_executor(self._pool, act)
            self._coming[asked].add_done_callback(partial(self._keep, asked))
        return self._coming[asked]

    def _keep(self, asked: Asked, future: asyncio.Future[OnlineReader]) -> None:
        del self._coming[asked]
        if not future.cancelled() and future.exception() is None:
            if asked in self._services:
                self._kept[asked] = future.result()
            else:
                self._ready.keep(asked, future.result())


def _renewed(reader: OnlineReader) -> OnlineReader:
    with suppress(StoreError):  # the next read asks the same store
        reader.renew()
        reader.load()
    return reader
