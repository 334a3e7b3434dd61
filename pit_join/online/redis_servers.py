"""Connections to Redis: one server, a cluster, or the master that Sentinel names. Outside world: the servers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from pit_join.errors import PitJoinError, StoreError

__all__ = ["SENTINEL", "AskAll", "Command", "Servers", "all_answered"]

SENTINEL = "+sentinel"
"""The end of the scheme of a URL that names Sentinels, and not the server itself."""

_NODES_TRIED = 3
_SENTINEL_PORT = 26379

Command = tuple[Any, ...]
"""A command with its arguments, of which the first is a key."""

AskAll = Callable[[Sequence[Command]], list[Any]]
"""Returns the answers to all commands, or raises an error."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a store: their URL for redis-py and for messages, and the seconds of a request."""

    url: str
    where: str
    timeout: float

    def connect(self, timeout: float, retries: int) -> Any:
        """Return a client of the server, of the cluster that it belongs to, or of the master that Sentinel names.

        Exports retry, where a connection ends; but a server that is silent would take the whole time again.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise StoreError(
                f"the online store {self.where} needs the package redis; run pip install 'pit-join[redis]'"
            ) from error
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), retries, supported_errors=(redis.ConnectionError,)),
        }
        for name in ("username", "password"):
            if given := os.environ.get(f"PIT_JOIN_REDIS_{name.upper()}"):
                options[name] = given
        with replace(self, timeout=timeout).readable_errors():
            if SENTINEL in self.url.partition(":")[0]:
                return self._master(options)
            client = redis.Redis.from_url(self.url, **options)
            with suppress(redis.exceptions.NoPermissionError):  # then it is taken for one server
                if client.info("cluster").get("cluster_enabled"):
                    client.close()
                    # A node that is silent takes the time twice: redis-py may ask it too where the keys are now. And it
                    # begins with a node of its own choice, which may be down: only when it retries it asks another one.
                    options |= {"socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
                    options["require_full_coverage"] = False  # a slot without a node costs only its own records
                    options["retry"] = Retry(NoBackoff(), _NODES_TRIED, supported_errors=(redis.ConnectionError,))
                    return (_export_cluster() if retries else redis.RedisCluster).from_url(self.url, **options)
            return client

    def _master(self, options: dict[str, Any]) -> Any:
        """Return a client that asks the Sentinels for the master whenever it opens a connection."""
        import redis

        connection: Any = redis.connection  # without types, as is the next one
        sentinel: Any = redis.sentinel
        parts = urlsplit(self.url)
        user, at, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.strip("/").partition("/")
        places = [urlsplit(f"//{place}") for place in hosts.split(",")]
        sentinels = [(place.hostname, place.port or _SENTINEL_PORT) for place in places]
        plain = parts._replace(
            scheme=parts.scheme.removesuffix(SENTINEL), netloc=f"{user}{at}host", path=f"/{database}"
        )
        given = connection.parse_url(plain.geturl())
        tls = {"ssl": given.pop("connection_class", None) is not None}
        tls |= {name: value for name, value in given.items() if name.startswith("ssl_")}
        own = {
            **tls,
            "retry": options["retry"],
            # All of them may be silent, and are asked one after the other.
            **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), self.timeout / len(sentinels)),
        }
        for name in ("username", "password"):
            own[name] = given.pop(f"sentinel_{name}", os.environ.get(f"PIT_JOIN_REDIS_SENTINEL_{name.upper()}"))
        del given["host"]
        client = sentinel.Sentinel(sentinels, sentinel_kwargs=own).master_for(service, **options | given | tls)
        client.ping()
        return client

    def answers(self, client: Any, commands: Sequence[Command], node: str | None = None) -> list[Any]:
        """Return the answers of one server; in place of each that it refused, the error.

        Errors of a `node` of a cluster that lead to another one are those of redis-py.

        Raises:
            StoreError: if it does not answer.
        """
        import redis

        with self.readable_errors(node):
            found = _sent(client, commands)
        for place, (command, answer) in enumerate(zip(commands, found, strict=True)):
            leads_on = isinstance(answer, (redis.exceptions.AskError, redis.exceptions.TryAgainError))
            if isinstance(answer, Exception) and not (node and leads_on):
                found[place] = self.refusal(command, answer, node)
        return found

    def refusal(self, command: Command, error: Exception, node: str | None = None) -> StoreError:
        """Return the error of a command that was refused."""
        import redis

        if isinstance(error, redis.exceptions.AskError):
            return StoreError(f"{self.where} is a node of a cluster; let its user ask for INFO, which says so")
        if "WRONGTYPE" in str(error):
            where = f"the node {node} of {self.where}" if node else self.where
            key = ascii(command[1])
            return StoreError(
                f"the key {key} of {where} is not what an export has written; delete it, and export again"
            )
        try:
            with self.readable_errors(node):
                raise error
        except StoreError as readable:
            found = readable
        return found

    @contextmanager
    def readable_errors(self, node: str | None = None) -> Iterator[None]:
        """Raise the errors of redis-py as `StoreError`, which names the node if it is about one."""
        import redis

        where = f"the node {node} of {self.where}" if node else self.where
        try:
            yield
        except PitJoinError:
            raise
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise StoreError(
                f"{where} refuses the user or password ({error}); set PIT_JOIN_REDIS_USERNAME and "
                "PIT_JOIN_REDIS_PASSWORD"
            ) from error
        except redis.TimeoutError as error:
            raise StoreError(f"{where} did not answer within {self.timeout:g} s (timeout= in the URL)") from error
        except (redis.exceptions.ClusterError, redis.exceptions.RedisClusterException) as error:
            raise StoreError(f"the cluster at {self.where} does not serve all keys now: {error}") from error
        except redis.sentinel.MasterNotFoundError as error:
            # Its text may have a password in it, and is not shown.
            if re.search("NOAUTH|WRONGPASS|Authentication|username-password", str(error)):
                raise StoreError(
                    f"a Sentinel of {where} refuses the user or password; set PIT_JOIN_REDIS_SENTINEL_USERNAME and "
                    "PIT_JOIN_REDIS_SENTINEL_PASSWORD"
                ) from None
            raise StoreError(
                f"{where} cannot be reached: no Sentinel that answers knows a master of that name that is up"
            ) from None
        except redis.ConnectionError as error:
            raise StoreError(f"{where} cannot be reached: {error}") from error
        except redis.ResponseError as error:
            if "NOAUTH" in str(error) or "WRONGPASS" in str(error):
                raise StoreError(f"{where} wants a password; set PIT_JOIN_REDIS_PASSWORD") from error
            raise StoreError(f"{where} refuses: {error}") from error
        except redis.RedisError as error:
            if type(error) is redis.RedisError:  # of the options of the URL
                raise ValueError(str(error)) from None
            raise StoreError(f"{where} cannot be used: {error}") from error


def _export_cluster() -> Any:
    """Return a class of clients that retry as those of redis-py do, but not where a node is silent."""
    import redis

    class ExportCluster(redis.RedisCluster):
        ERRORS_ALLOW_RETRY: Any = tuple(set(redis.RedisCluster.ERRORS_ALLOW_RETRY) - {redis.TimeoutError})

    return ExportCluster


def all_answered(answers: list[Any]) -> list[Any]:
    """Return answers among which there is no error, or raise the first one."""
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer
    return answers


def _sent(client: Any, commands: Sequence[Command]) -> list[Any]:
    """Return the answers and errors of one server; ask again if it closed an idle connection, not if it is silent."""
    import redis

    def ask() -> list[Any]:
        pool = client.connection_pool
        connection = pool.get_connection()
        try:
            # A pipeline of redis-py does the same, in half as much time again for many small commands.
            connection.send_packed_command(connection.pack_commands(commands))
            found: list[Any] = []
            for _ in commands:
                try:
                    found.append(connection.read_response())
                except redis.ResponseError as error:
                    found.append(error)
            return found
        except BaseException:
            connection.disconnect()  # or the next one who has it would be given the answers that are still to come
            raise
        finally:
            pool.release(connection)

    try:
        return ask()
    except redis.ConnectionError:
        return ask()
