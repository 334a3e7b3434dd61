"""Monitoring: what a feature log shows of what was served. It begins with skew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pit_join.monitoring.findings import Skew

__all__ = ["Monitoring"]


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What was found, by kind."""

    skew: Skew

    @property
    def found(self) -> bool:
        """Whether somebody should look at it."""
        return self.skew.found

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"skew": self.skew.as_json()}
