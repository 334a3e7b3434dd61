"""Parts of SQL: names, texts, and what a dbt profile says of databases, secrets and file systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pit_join.errors import WarehouseError

__all__ = ["attach_options", "create_secret", "filesystem", "identifier", "literal"]


def identifier(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def attach_options(options: Mapping[str, Any], *, writes: bool = False) -> str:
    """Return the options of an `attach` as dbt-duckdb writes them; read only, unless the database is written.

    >>> attach_options({"type": "sqlite", "secret": "shop", "encrypt": True})
    "read_only, type 'sqlite', secret 'shop', encrypt"
    """
    listed = [] if writes else ["read_only"]
    for name, value in options.items():
        if value is None or value is False:
            continue
        quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        written = value if quoted or not isinstance(value, str) else literal(value)
        listed.append(name if value is True else f"{name} {written}")
    return ", ".join(listed)


def create_secret(secret: Mapping[str, Any], number: int) -> str:
    """Return the statement that creates a secret of a profile, for this session alone.

    >>> print(create_secret({"type": "s3", "scope": ["s3://a", "s3://b"]}, 1))
    create or replace temporary secret "_dbt_secret_1" (type 's3', scope ['s3://a', 's3://b'])
    """
    options = [
        f"{name} {_secret_value(name, value)}"
        for name, value in secret.items()
        if name not in ("name", "persistent") and value is not None
    ]
    name = str(secret.get("name") or f"_dbt_secret_{number}")
    return f"create or replace temporary secret {identifier(name)} ({', '.join(options)})"


def _secret_value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{literal(str(key))}: {literal(str(item))}" for key, item in value.items())
        return f"map {{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(literal(str(item)) for item in value)}]"
    # A map as text is SQL already.
    return str(value) if name == "extra_http_headers" else literal(str(value))


def filesystem(options: Mapping[str, Any]) -> Any:
    """Return a file system of fsspec, from an item of a profile's `filesystems`.

    Raises:
        WarehouseError: if fsspec or what it needs is not installed, or the options do not fit.
    """
    name = options["fs"]
    try:
        import fsspec

        return fsspec.filesystem(name, **{key: value for key, value in options.items() if key != "fs"})
    except (ImportError, ValueError, TypeError) as error:
        raise WarehouseError(
            f"the file system '{name}' of the dbt profile cannot be used: {error}; install fsspec and what it needs "
            "for it, as for dbt"
        ) from error
