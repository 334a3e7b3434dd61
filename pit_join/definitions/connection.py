"""How a dbt profile's target reaches DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Connection"]


@dataclass(frozen=True, slots=True)
class Connection:
    """The files of a target and DuckDB's options for them.

    `databases` maps names in SQL to files, `directory` is what relative paths in SQL are relative to; the rest is
    DuckDB's own `config_options`, `settings` and `extensions` of the profile.
    """

    target: str
    directory: Path
    databases: Mapping[str, str]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
