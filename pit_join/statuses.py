"""The statuses of feature values: plain strings, as answers, feature logs and Parquet files hold them.

A new status is a constant and a row of `STATUSES`; tables, counters and the OpenAPI document follow.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "COMPUTE_FAILED", "FALLBACKS", "NOT_EXPORTED", "NOT_FOUND", "NOT_YET_KNOWN", "NULL_KEY", "NULL_VALUE", "OFFLINE",
    "ONLINE", "OUTSIDE_MAX_AGE", "PRESENT", "STALE", "STATUSES", "STORE_FAILED", "STORE_LATE", "Status",
]  # fmt: skip

PRESENT = "PRESENT"
NULL_VALUE = "NULL_VALUE"
OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"
NOT_YET_KNOWN = "NOT_YET_KNOWN"
NOT_FOUND = "NOT_FOUND"
NULL_KEY = "NULL_KEY"
STORE_FAILED = "STORE_FAILED"
STORE_LATE = "STORE_LATE"
NOT_EXPORTED = "NOT_EXPORTED"
STALE = "STALE"
COMPUTE_FAILED = "COMPUTE_FAILED"


class Status(NamedTuple):
    """One status: its heading in a table, its meaning, and where it occurs.

    `offline` is a training set; `online` is an answer from an online store, also over HTTP, and the feature log. A
    `fallback` is a default that stands for a value which a store or a macro failed to return, or which is stale.
    """

    heading: str
    meaning: str
    offline: bool = False
    online: bool = True
    fallback: bool = False


STATUSES = {
    PRESENT: Status("present", "a row was found, and its value is not null", offline=True),
    NULL_VALUE: Status("null value", "a row was found, and its value is null", offline=True),
    OUTSIDE_MAX_AGE: Status("too old", "the row is older than the ttl", offline=True),
    NOT_YET_KNOWN: Status("not yet known", "the key has a history, all of it later", offline=True, online=False),
    NOT_FOUND: Status("not found", "the key has no row, or a deleted one", offline=True),
    NULL_KEY: Status("null key", "a key, or the time of a spine's row, is null", offline=True),
    STORE_FAILED: Status("store failed", "the store cannot be read, or the record is damaged", fallback=True),
    STORE_LATE: Status("store late", "the store did not answer within the deadline", fallback=True),
    NOT_EXPORTED: Status("not exported", "the view has not been exported to its store yet", fallback=True),
    STALE: Status("stale", "the export that is served is older than the view's max_staleness", fallback=True),
    COMPUTE_FAILED: Status("compute failed", "the on-demand feature cannot be computed", fallback=True),
}
OFFLINE = tuple(name for name, status in STATUSES.items() if status.offline)
ONLINE = tuple(name for name, status in STATUSES.items() if status.online)
FALLBACKS = tuple(name for name, status in STATUSES.items() if status.fallback)
