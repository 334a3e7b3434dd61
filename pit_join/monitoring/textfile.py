"""The state of the last run of monitoring as a file for the textfile collector of Prometheus's node exporter."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from pit_join.errors import PitJoinError
from pit_join.files import whole

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring

__all__ = ["write_textfile"]

_BREACHES = "pit_join_check_breaches", "Features of a view that a check found to need attention."
_UNJUDGED = "pit_join_check_unjudged", "Features of a view with a bound against which nothing could be held."
_UNCHECKED = "pit_join_check_unchecked", "Things that the last run could not look at, of all its checks together."
_LAST_RUN = "pit_join_check_last_run_timestamp_seconds", "When a check last ran to its end, in Unix time."


def write_textfile(monitoring: Monitoring, path: Path) -> None:
    """Write the state of a run, whole or not at all, as a file that everybody may read.

    Raises:
        PitJoinError: if the file cannot be written.
    """
    try:
        with whole(path) as name:
            Path(name).write_text("\n".join(_lines(monitoring)) + "\n", encoding="utf-8", errors="replace")
            os.chmod(name, 0o644)  # the exporter is another user
    except OSError as error:
        raise PitJoinError(f"{path} cannot be written: {error.strerror or error}") from error


def _lines(monitoring: Monitoring) -> Iterator[str]:
    """Yield lines of Prometheus's text format; every sample says of which project it is, since hosts have several."""
    breaches: Counter[tuple[str, str]] = Counter()
    unjudged: Counter[tuple[str, str]] = Counter()
    for each in monitoring.results:
        breaches[each.view, each.check] += each.breached
        unjudged[each.view, each.check] += each.bound is not None and not each.judged
    whose = {"project": monitoring.project, "target": monitoring.target}
    for (metric, help_text), counted in ((_BREACHES, breaches), (_UNJUDGED, unjudged)):
        yield from _head(metric, help_text)
        for (view, check), number in sorted(counted.items()):
            yield _sample(metric, {**whose, "view": view, "check": check}, number)
    checks = sorted(monitoring.as_json())
    yield from _head(*_UNCHECKED)
    yield _sample(_UNCHECKED[0], {**whose, "checks": ",".join(checks)}, len(monitoring.unchecked))
    yield from _head(*_LAST_RUN)
    now = time()
    yield from (_sample(_LAST_RUN[0], {**whose, "check": check}, now) for check in checks)


def _head(metric: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {metric} {help_text}", f"# TYPE {metric} gauge"


def _sample(metric: str, labels: dict[str, str], value: float) -> str:
    listed = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
    return f"{metric}{{{listed}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
