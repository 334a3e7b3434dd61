"""A target of dbt-postgres or dbt-spark in profiles.yml: each key is used, has no effect, or is refused."""

from __future__ import annotations

import hashlib
import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pit_join.definitions.connection import Connection
from pit_join.errors import ProjectError, suggest

__all__ = ["POSTGRES_KEYS", "SPARK_KEYS", "server_connection"]

# Each key with the parameter of libpq that has its value.
_LIBPQ = {
    "host": "host", "port": "port", "user": "user", "username": "user", "password": "password", "pass": "password",
    "dbname": "dbname", "database": "dbname", "connect_timeout": "connect_timeout", "sslmode": "sslmode",
    "sslcert": "sslcert", "sslkey": "sslkey", "sslrootcert": "sslrootcert", "keepalives_idle": "keepalives_idle",
}  # fmt: skip
# How dbt works and where it writes: pit-join finds the result in the manifest.
_OF_DBT = ("type", "schema", "threads", "retries", "search_path")

POSTGRES_KEYS = (*_LIBPQ, "role", *_OF_DBT)
"""The known keys of a target, among them all of dbt-postgres' `PostgresCredentials`."""

# Of dbt-spark's ways to connect, `session` has Spark in its own process. All others send SQL to a server.
_METHOD = "session"
_OF_OTHER_METHODS = (
    "host", "port", "user", "password", "token", "auth", "kerberos_service_name", "organization", "cluster", "endpoint",
    "driver", "connection_string_suffix", "use_ssl", "connect_retries", "connect_timeout", "retry_all", "query_timeout",
    "query_retries", "poll_interval",
)  # fmt: skip

SPARK_KEYS = ("type", "method", "server_side_parameters", "schema", "database", "threads", *_OF_OTHER_METHODS)
"""The known keys of a target, all of dbt-spark's `SparkCredentials`."""

_APPLICATION = "pit-join"


def server_connection(where: str, output: Mapping[str, Any], directory: Path, target: str) -> Connection:
    """Read a target of type postgres or spark whose templates are filled in; `where` opens the message of an error.

    Raises:
        ProjectError: with every problem, each naming the file, the target and the key.
    """
    engine = str(output["type"])
    known, read = {"postgres": (POSTGRES_KEYS, _postgres), "spark": (SPARK_KEYS, _spark)}[engine]
    problems = [f"{key}: unknown key; {suggest(str(key), known, 'allowed')}" for key in output if key not in known]
    server, missing = read(output)
    if problems := [*problems, *missing]:
        raise ProjectError([f"{where}: {problem}" for problem in problems])
    return Connection(
        target,
        directory,
        {},
        profile_hash=_profile_hash(output),
        engine=engine,
        server=server,
        database=server.get("dbname", ""),
        schema=str(output.get("schema") or ""),
    )


def _postgres(output: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return libpq's parameters and what is wrong."""
    server = {parameter: str(output[key]) for key, parameter in _LIBPQ.items() if output.get(key) not in (None, "")}
    missing = [f"{key}: is missing" for key in ("host", "dbname") if key not in server]
    server["application_name"] = _APPLICATION
    if output.get("role"):
        server["role"] = str(output["role"])
    return server, missing


def _spark(output: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return Spark's settings and what is wrong."""
    method = output.get("method")
    if method != _METHOD:
        said = "method: is missing" if method is None else f"method: {method} sends SQL to a server"
        return {}, [f"{said}; pit-join reads Spark in its own process, as dbt-spark does with method: {_METHOD}"]
    settings = output.get("server_side_parameters") or {}
    if not isinstance(settings, Mapping):
        return {}, [f"server_side_parameters: must be a mapping, got {settings!r}"]
    return {str(name): str(value) for name, value in settings.items()}, []


def _profile_hash(output: Mapping[str, Any]) -> str:
    """Return a hash that is never dbt's own, so that dbt is asked instead of a record of its parse."""
    return hashlib.sha256(pprint.pformat(sorted(output.items(), key=str)).encode()).hexdigest()
