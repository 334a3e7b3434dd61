"""The events of the window scenarios, and the spines that ask for windows over them.

A key's share of the events follows Zipf's law: the number 1 is the hottest. Values, times and keys come from numpy
generators with fixed seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

DAY_US = 86_400 * 1_000_000
START_US = 1_704_067_200 * 1_000_000  # 2024-01-01 00:00 UTC
UNKNOWN_KEYS = 0.02  # of the spine's rows: keys without events
DOUBLED_ROWS = 0.01  # of the spine's rows: key and time of another row
EDGES = 0.02  # of the spine's rows: at the very time of an event of the key, or a window's length after it
WINDOWS = ("1 hour", "1 day", "7 days", "30 days")
WINDOWS_US = (DAY_US // 24, DAY_US, 7 * DAY_US, 30 * DAY_US)


@dataclass(frozen=True)
class Events:
    """The parameters of one event table at scale 1; ``scale`` shrinks rows and keys alike."""

    about: str
    events: int
    spine: int  # 0: there is none
    keys: int
    skew: float  # the exponent of Zipf's law, 0 if all keys are alike
    days: int
    aggregations: tuple[dict, ...]
    closed: str = "left"

    def scaled(self, scale: float) -> Events:
        def shrink(n: int) -> int:
            return max(int(n * scale), 10) if n else 0

        return replace(self, events=shrink(self.events), spine=shrink(self.spine), keys=shrink(self.keys))

    def tables(self) -> tuple[pa.Table, pa.Table | None]:
        """The events in the order (key, time), and the spine in no particular order."""
        rng = np.random.default_rng(20240102)
        key, time = self._keys(self.events, rng), self._times(self.events, rng)
        order = np.lexsort((time, key))
        key, time = key[order], time[order]
        events = pa.table(
            {
                "key": key,
                "event_timestamp": _timestamps(time),
                "v": rng.integers(0, 1000, self.events),
                "x": rng.random(self.events) * 1000,
            }
        )
        if not self.spine:
            return events, None
        n = self.spine
        asked, at = self._keys(n, rng), self._times(n, rng)
        edges, met = rng.choice(n, int(n * EDGES), replace=False), rng.integers(0, self.events, int(n * EDGES))
        asked[edges], at[edges] = key[met], time[met] + rng.choice([0, *WINDOWS_US], len(met))
        asked[rng.random(n) < UNKNOWN_KEYS] += self.keys
        copies = rng.choice(n, int(n * DOUBLED_ROWS), replace=False)
        originals = rng.integers(0, n, len(copies))
        asked[copies], at[copies] = asked[originals], at[originals]
        return events, pa.table({"row_id": np.arange(n), "key": asked, "event_timestamp": _timestamps(at)})

    def _keys(self, n: int, rng: np.random.Generator) -> np.ndarray:
        share = 1 / np.arange(1, self.keys + 1) ** self.skew
        return rng.choice(self.keys, size=n, p=share / share.sum()) + 1

    def _times(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return START_US + rng.integers(0, self.days * DAY_US, n)


def _timestamps(us: np.ndarray) -> pa.Array:
    return pa.array(us, type=pa.timestamp("us", tz="UTC"))


_SUMS = (
    {"name": "count", "function": "count", "windows": WINDOWS},
    {"name": "sum_v", "function": "sum", "column": "v", "windows": WINDOWS},
    {"name": "avg_v", "function": "avg", "column": "v", "windows": WINDOWS},
)
_FLOATS = (
    {"name": "sum_x", "function": "sum", "column": "x", "windows": WINDOWS},
    {"name": "avg_x", "function": "avg", "column": "x", "windows": WINDOWS},
)
_EXTREMES = (
    {"name": "min_v", "function": "min", "column": "v", "windows": ["7 days"]},
    {"name": "max_v", "function": "max", "column": "v", "windows": ["7 days"]},
)
_OTHERS = (
    {"name": "last_v", "function": "last_n", "column": "v", "n": 5, "windows": WINDOWS},
    {"name": "stddev_v", "function": "stddev", "column": "v", "windows": WINDOWS},
    {"name": "stddev_x", "function": "stddev", "column": "x", "windows": WINDOWS},
    {"name": "distinct_v", "function": "count_distinct", "column": "v", "windows": WINDOWS},
)
_DAILY = (
    {"name": "count", "function": "count", "windows": ["30 days"]},
    *(
        {"name": f"{function}_{column}", "function": function, "column": column, "windows": ["30 days"]}
        for function, column in (
            ("sum", "x"),
            ("stddev", "x"),
            ("min", "v"),
            ("max", "v"),
            ("first", "v"),
            ("last", "v"),
        )
    ),
)
MANY_SUMS = 56
_MANY = tuple(
    {"name": f"sum_{column}", "function": "sum", "column": column, "windows": [f"{hours + 1} hours"]}
    for column in "vx"
    for hours in range(MANY_SUMS)
)
EVENTS = {
    "W1": Events("events with a hot key", 5_000_000, 500_000, 100_000, 1.2, 365, (*_SUMS, *_FLOATS, *_EXTREMES)),
    "W2": Events("events, mildly skewed", 2_000_000, 500_000, 100_000, 0.53, 365, (*_SUMS, *_FLOATS, *_OTHERS)),
    "W7": Events("events for many sums", 20_000, 1_500, 200, 0, 14, _MANY),
    "W4": Events(
        "events of two years, keys alike",
        4_000_000,
        0,
        20_000,
        0,
        730,
        _DAILY,
        closed="right",
    ),
}
