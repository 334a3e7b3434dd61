"""The databases and options of a dbt profile's target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Connection", "Database"]


@dataclass(frozen=True, slots=True)
class Database:
    """A database to attach: `options` are those of DuckDB's `attach`, such as `type`.

    `path` is a local file if `is_file`; otherwise it is whatever the DuckDB extension for `type` expects.
    """

    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_file: bool = True


@dataclass(frozen=True, slots=True)
class Connection:
    """The databases of a target and DuckDB's options for them.

    `databases` are keyed by their names in SQL, the one that dbt writes first; relative paths in SQL start at
    `directory`. `profile_hash` is dbt's own hash of the target. The rest is the profile's `config_options`, `settings`,
    `extensions`, `secrets` and `filesystems`, and the modules of the `plugins` that dbt loads. `engine` is the type of
    dbt's adapter. A target of another engine than DuckDB has no databases, and `server`: for PostgreSQL libpq's
    parameters and `role`, the role to take on; for Spark its settings. `schema` is that of the target, and `database`
    the one in which dbt builds there.
    """

    target: str
    directory: Path
    databases: Mapping[str, Database]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    secrets: tuple[Mapping[str, Any], ...] = ()
    filesystems: tuple[Mapping[str, Any], ...] = ()
    plugins: tuple[str, ...] = field(default=(), compare=False)
    profile_hash: str = field(default="", compare=False)
    engine: str = "duckdb"
    server: Mapping[str, str] = field(default_factory=dict, repr=False)
    database: str = field(default="", compare=False)
    schema: str = field(default="", compare=False)

    @property
    def pins_utc(self) -> bool:
        """Whether dbt's own sessions are in UTC, whatever the time zone of the machine is."""
        zones = [str(value) for name, value in self.settings.items() if str(name).lower() == "timezone"]
        return bool(zones) and zones[-1].upper() in ("UTC", "ETC/UTC")
