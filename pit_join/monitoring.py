"""Monitoring: what a feature log shows of what was served. It begins with skew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pit_join.project import Project
from pit_join.skew import find_skew
from pit_join.skew_findings import Skew

__all__ = ["Monitoring", "monitor"]


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


def monitor(
    project: Project,
    log: Path,
    span: tuple[datetime | None, datetime | None] = (None, None),
    service: str | None = None,
    tolerance: float = 1e-9,
    *,
    wait: float = 60.0,
    on_message: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
) -> Monitoring:
    """Look at a feature log in every way that there is; the arguments are those of `find_skew`.

    Raises:
        PitJoinError: if the log, the project or its warehouse cannot be read.
    """
    skew = find_skew(project, log, span, service, tolerance, wait=wait, on_message=on_message, on_progress=on_progress)
    return Monitoring(skew)
