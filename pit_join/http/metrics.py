"""The metrics of the HTTP server, for Prometheus."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from pit_join.errors import PitJoinError
from pit_join.records.store_manifest import Contents

__all__ = ["CONTENT_TYPE_LATEST", "SHARED_FOLDER", "Metrics"]

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable of the folder where the workers of one server add up what they count."""

# A file that somebody else wrote must not make all metrics unreadable.
_OF_CHECKS = re.compile(rb"^(?:# (?:HELP|TYPE) )?pit_join_check_.*\n", re.MULTILINE)
_MOST_OF_CHECKS = 2**24  # bytes
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters and latencies of one process, or of all workers.

    When they are shown `contents` is called, and `textfile`, that of `pit-join monitor`, is read, if there is one.
    """

    def __init__(self, contents: Callable[[], Contents], textfile: Path | None = None) -> None:
        self._textfile = textfile
        disable_created_metrics()  # type: ignore[no-untyped-call]
        own = CollectorRegistry()
        seconds = Histogram(
            "pit_join_request_seconds", "Time from a request's head to its answer.", ["path"],
            buckets=_SECONDS, registry=own,
        )  # fmt: skip
        requests = Counter("pit_join_requests", "Requests by path and HTTP status.", ["path", "status"], registry=own)
        values = Counter(
            "pit_join_feature_values", "Values of answers in JSON and Arrow, by view and status.",
            ["view", "status"], registry=own,
        )  # fmt: skip
        self._store_errors = Counter(
            "pit_join_store_errors", "Requests with defaults: the store failed, was late, or is stale.", registry=own
        )
        self._log_rows = Counter(
            "pit_join_feature_log_rows", "Rows of sampled requests: logged, dropped (others waited), failed.",
            ["outcome"], registry=own,
        )  # fmt: skip
        # What a worker has counted outlives it, so that each one that has died leaves one more.
        Counter("pit_join_worker_starts", "Processes that were started to answer requests.", registry=own).inc()
        # Looking up a label takes longer than counting.
        self._of_path, self._of_status = lru_cache(seconds.labels), lru_cache(requests.labels)
        self._of_view = lru_cache(maxsize=4096)(values.labels)
        self._shown = own
        if os.environ.get(SHARED_FOLDER):
            self._shown = CollectorRegistry()
            MultiProcessCollector(self._shown)  # type: ignore[no-untyped-call]
        else:
            ProcessCollector(registry=own)
        self._shown.register(_Views(contents))

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._of_path(path).observe(seconds)
        self._of_status(path, status).inc()

    def values(self, view: str, status: str, number: int) -> None:
        """Count feature values that were served."""
        self._of_view(view, status).inc(number)

    def store_error(self) -> None:
        """Count a failure of the store."""
        self._store_errors.inc()

    def logged(self, outcome: str, rows: int) -> None:
        """Count rows that the feature log has "logged", "dropped", or that "failed"."""
        self._log_rows.labels(outcome).inc(rows)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._shown) + self._of_checks()

    def _of_checks(self) -> bytes:
        if self._textfile is None:
            return b""
        try:
            with self._textfile.open("rb") as file:
                return b"".join(_OF_CHECKS.findall(file.read(_MOST_OF_CHECKS)))
        except OSError:  # nothing was monitored yet; a rule says so
            return b""


class _Views(Collector):
    """Gauges that are read from the store when they are shown."""

    def __init__(self, contents: Callable[[], Contents]) -> None:
        self._contents = contents

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing: the store need not exist when the server starts."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield whether the store can be read, and the ages of its snapshots."""
        ages = GaugeMetricFamily(
            "pit_join_view_age_seconds", "Seconds since the instant that a view's export is the snapshot of.",
            labels=["view"],
        )  # fmt: skip
        try:
            views = self._contents().views
        except PitJoinError:
            views = {}
        now = datetime.now(timezone.utc)
        for name, view in views.items():
            if view.instant:
                ages.add_metric([name], (now - view.instant).total_seconds())
        yield GaugeMetricFamily("pit_join_store_ready", "Whether the store can be read.", value=float(bool(views)))
        yield ages
