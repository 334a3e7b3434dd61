"""A Redis cluster read node by node: one that is down, or an error reply, costs only its own records.

Each node is asked in another thread, within the deadline and behind a circuit breaker of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pit_join.errors import StoreError
from pit_join.online.redis_servers import AskAll, Command, Servers, all_answered
from pit_join.online.remote import NodeError, Remote

__all__ = ["ClusterNodes"]

_WAITED = 0.8  # of the time until the deadline
_NO_NODE = ""


class _RepliesError(NodeError):
    """Error replies to some commands, in their places among the `answers` to all."""

    def __init__(self, first: StoreError, answers: list[Any]) -> None:
        super().__init__(str(first), first.status)
        self.answers = answers


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
        return all_answered(found)

    def ask(self, commands: Sequence[Command], until: float | None, *, says: bool = True) -> list[Any]:
        """Return the answers to commands; an error in place of each that was refused, or not answered by a node.

        With `says` the log says that defaults are served if a node fails.
        """
        from redis.exceptions import AskError, SlotNotCoveredError, TryAgainError

        places: dict[str, list[int]] = {}
        nodes: dict[str, Any] = {}
        for place, command in enumerate(commands):
            try:
                node = self._client.get_node_from_key(command[1])
            except SlotNotCoveredError:
                places.setdefault(_NO_NODE, []).append(place)
            else:
                nodes[node.name] = node
                places.setdefault(node.name, []).append(place)
        if until is not None:
            # At the deadline itself the caller leaves this thread, and with it what the other nodes have answered.
            now = time.monotonic()
            until = now + _WAITED * (until - now)
        acts = {name: partial(self._answers, nodes[name]) if name else self._found_anew for name in places}
        found = dict(self._each(commands, places, acts, until, says))
        moved: dict[str, list[int]] = {}
        for place, answer in found.items():
            if isinstance(answer, AskError):  # the key has moved, or is moving
                moved.setdefault(f"{answer.host}:{answer.port}", []).append(place)
            elif isinstance(answer, TryAgainError):
                moved.setdefault(_NO_NODE, []).append(place)
        found |= self._each(commands, moved, dict.fromkeys(moved, self._followed), until, says)
        return [found[place] for place in range(len(commands))]

    def _each(
        self,
        commands: Sequence[Command],
        places: Mapping[str, Sequence[int]],
        acts: Mapping[str, AskAll],
        until: float | None,
        says: bool,
    ) -> Iterator[tuple[int, Any]]:
        """Ask all nodes at the same time, and yield the place of each command with its answer or error."""
        started = {
            name: self._remote(name).start(partial(acts[name], [commands[place] for place in own]), says=says)
            for name, own in places.items()
        }
        for name, answers in started.items():
            try:
                answered = answers(until)
            except _RepliesError as error:
                answered = error.answers
            except StoreError as error:
                answered = [error] * len(places[name])
            yield from zip(places[name], answered, strict=True)

    def _remote(self, name: str) -> Remote:
        if name not in self._remotes:
            where = f"the node {name} of {self._servers.where}" if name else f"the cluster at {self._servers.where}"
            self._remotes.setdefault(name, Remote(where))
        return self._remotes[name]

    def _found_anew(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands whose keys had no node when redis-py asked last."""
        with self._servers.readable_errors():
            self._client.nodes_manager.initialize()
            for _, key, *_ in commands:
                # Where there is still no node this raises; redis-py would wait, and ask again, for each command.
                self._client.get_node_from_key(key)
        return self._followed(commands)

    def _followed(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands from where redis-py is led to; the error in place of each that is refused."""
        import redis

        found: list[Any] = []
        with self._servers.readable_errors():
            for command in commands:
                try:
                    found.append(self._client.execute_command(*command))
                except redis.ResponseError as error:
                    found.append(self._servers.refusal(command, error))
        return found

    def _answers(self, node: Any, commands: Sequence[Command]) -> list[Any]:
        """Return the answers of a node, among them those that lead to other nodes."""
        import redis

        try:
            found = self._servers.answers(self._client.get_redis_connection(node), commands, node.name)
        except StoreError as error:
            if isinstance(_cause(error), (redis.ConnectionError, redis.TimeoutError)):
                with suppress(redis.RedisError):  # a replica may have taken its place
                    self._client.nodes_manager.initialize()
            raise
        if first := next((answer for answer in found if isinstance(answer, StoreError)), None):
            raise _RepliesError(first, found)
        return found


def _cause(answer: Any) -> BaseException | None:
    return answer.__cause__ if isinstance(answer, StoreError) else None
