"""A target of dbt-postgres in profiles.yml: its keys become libpq's parameters, have no effect, or are refused."""

from __future__ import annotations

import hashlib
import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pit_join.definitions.connection import Connection
from pit_join.errors import ProjectError, suggest

__all__ = ["POSTGRES_KEYS", "postgres_connection"]

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

_APPLICATION = "pit-join"


def postgres_connection(where: str, output: Mapping[str, Any], directory: Path, target: str) -> Connection:
    """Read a target whose templates are filled in; `where` opens the message of an error.

    Raises:
        ProjectError: with every problem, each naming the file, the target and the key.
    """
    problems = [
        f"{where}: {key}: unknown key; {suggest(str(key), POSTGRES_KEYS, 'allowed')}"
        for key in output
        if key not in POSTGRES_KEYS
    ]
    server = {parameter: str(output[key]) for key, parameter in _LIBPQ.items() if output.get(key) not in (None, "")}
    problems += [f"{where}: {key}: is missing" for key in ("host", "dbname") if key not in server]
    if problems:
        raise ProjectError(problems)
    server["application_name"] = _APPLICATION
    if output.get("role"):
        server["role"] = str(output["role"])
    return Connection(target, directory, {}, profile_hash=_profile_hash(output), server=server)


def _profile_hash(output: Mapping[str, Any]) -> str:
    """Return a hash that is never dbt's own, so that dbt is asked instead of a record of its parse."""
    return hashlib.sha256(pprint.pformat(sorted(output.items(), key=str)).encode()).hexdigest()
