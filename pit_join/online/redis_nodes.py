"""A Redis cluster read node by node: one that is down costs only its own records.

Each node is asked in another thread, within the deadline and behind a circuit breaker of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pit_join.errors import StoreError
from pit_join.online.redis_servers import Command, Servers, ask_server
from pit_join.online.remote import Remote

__all__ = ["ClusterNodes"]

_WAITED = 0.8  # of the time until the deadline


class ClusterNodes:
    """The nodes of a cluster, as a client of it knows them."""

    def __init__(self, client: Any, servers: Servers) -> None:
        self._client, self._servers = client, servers
        self._remotes: dict[str, Remote] = {}

    def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to the commands of an export.

        Raises:
            StoreError: if a node did not answer.
        """
        import redis

        found = self.ask(commands, None, says=False)
        # A replica may have taken the place of a node that is gone; a silent one would take the whole time again.
        gone = [place for place, each in enumerate(found) if isinstance(_cause(each), redis.ConnectionError)]
        for place, answer in zip(gone, self.ask([commands[i] for i in gone], None, says=False), strict=True):
            found[place] = answer
        for answer in found:
            if isinstance(answer, StoreError):
                raise answer
        return found

    def ask(self, commands: Sequence[Command], until: float | None, *, says: bool = True) -> list[Any]:
        """Return the answers to commands; an error in place of each that the node of its key did not answer.

        With `says` the log says that defaults are served if a node fails.
        """
        places: dict[str, list[int]] = {}
        nodes: dict[str, Any] = {}
        with self._servers.readable_errors():
            for place, command in enumerate(commands):
                node = self._client.get_node_from_key(command[1])
                nodes[node.name] = node
                places.setdefault(node.name, []).append(place)
        if until is not None:
            # At the deadline itself the caller leaves this thread, and with it what the other nodes have answered.
            now = time.monotonic()
            until = now + _WAITED * (until - now)
        started = {
            name: self._remote(name).start(
                partial(self._answers, nodes[name], [commands[place] for place in own]), says=says
            )
            for name, own in places.items()
        }
        found: list[Any] = [None] * len(commands)
        for name, answers in started.items():
            try:
                answered = answers(until)
            except StoreError as error:
                answered = [error] * len(places[name])
            for place, answer in zip(places[name], answered, strict=True):
                found[place] = answer
        return found

    def _remote(self, name: str) -> Remote:
        if name not in self._remotes:
            self._remotes.setdefault(name, Remote(f"the node {name} of {self._servers.where}"))
        return self._remotes[name]

    def _answers(self, node: Any, commands: Sequence[Command]) -> list[Any]:
        import redis
        from redis.exceptions import AskError, TryAgainError

        with self._servers.readable_errors(node.name):
            try:
                found = ask_server(self._client.get_redis_connection(node), commands, raise_on_error=False)
            except (redis.ConnectionError, redis.TimeoutError):
                with suppress(redis.RedisError):  # a replica may have taken its place
                    self._client.nodes_manager.initialize()
                raise
            for place, answer in enumerate(found):
                if isinstance(answer, (AskError, TryAgainError)):  # the key has moved, or is moving
                    found[place] = self._client.execute_command(*commands[place])
                elif isinstance(answer, Exception):
                    raise answer
            return found


def _cause(answer: Any) -> BaseException | None:
    return answer.__cause__ if isinstance(answer, StoreError) else None
