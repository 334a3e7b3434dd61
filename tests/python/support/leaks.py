"""A gallery of training sets made by hand with pandas: some leak, each in its own way, and some are honest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from support.projects import make_project, view

Frame = pd.DataFrame
KEYS = "entity: user, join_keys: [user_id]"
TIMES = "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}"
VIEWS = {
    "activity": view(
        f"{KEYS}, created_timestamp: loaded_at, lag: 6 hours, ttl: 2 days",
        f"{TIMES}, {{name: loaded_at, data_type: timestamptz}}, {{name: logins, data_type: bigint}}, "
        "{name: spend, data_type: double}",
    ),
    "daily": view(
        f"{KEYS}, inclusive: false", f"{TIMES}, {{name: score, data_type: double}}, {{name: grade, data_type: varchar}}"
    ),
    "purchases": view(
        f"{KEYS}, aggregations: [{{name: purchases_7d, function: count, window: 7 days}}, "
        "{name: paid_7d, function: sum, column: amount, window: 7 days}]",
        f"{TIMES}, {{name: amount, data_type: double}}",
    ),
}
USERS, ROWS = 60, 1_500
BEGIN = pd.Timestamp("2026-01-01", tz="UTC")
DAY, HOUR, MICROSECOND = pd.Timedelta("1D"), pd.Timedelta("1h"), pd.Timedelta("1us")
ACTIVITY, DAILY, PURCHASES = ["logins", "spend"], ["score", "grade"], ["purchases_7d", "paid_7d"]


class Gallery:
    """The tables of the project in `folder`, a spine, and the sets that are made of them."""

    def __init__(self, folder: Path) -> None:
        self.random = np.random.default_rng(7)
        self.project = make_project(folder / "shop", VIEWS)
        self.activity = self._events(6_000)
        self.activity["loaded_at"] = self.activity.event_timestamp + self._seconds(
            self.random.exponential(20 * 3600, 6_000)
        )
        self.activity["logins"] = self.random.integers(0, 500, 6_000)
        self.activity["spend"] = self.random.normal(50, 20, 6_000)
        days = pd.date_range(BEGIN, periods=90, freq="D").astype("datetime64[us, UTC]")
        index = pd.MultiIndex.from_product([range(1, USERS + 1), days], names=["user_id", "event_timestamp"])
        self.daily = index.to_frame(index=False)
        self.daily["score"] = self.random.normal(0, 1, len(self.daily))
        self.daily["grade"] = self.random.choice(list("abcdef"), len(self.daily))
        self.purchases = self._events(6_000)
        self.purchases["amount"] = self.random.gamma(2, 30, 6_000)
        with duckdb.connect(str(self.project / "warehouse.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'")
            for name in VIEWS:
                connection.register("frame", getattr(self, name))
                connection.execute(f"create table {name} as select * from frame order by user_id, event_timestamp")
        # Some users have no history.
        self.spine = self._events(ROWS, USERS + 4)
        self.spine["label"] = self.random.integers(0, 2, ROWS)
        self.known = np.maximum(self.activity.event_timestamp + 6 * HOUR, self.activity.loaded_at)
        self.honest = self.by_rule()

    def _seconds(self, numbers: Any) -> Any:
        return pd.to_timedelta(numbers.astype("int64"), unit="s").astype("timedelta64[us]")

    def _events(self, rows: int, users: int = USERS) -> Frame:
        times = BEGIN + self._seconds(self.random.integers(0, 90 * 86_400, rows))
        return pd.DataFrame(
            {
                "user_id": self.random.integers(1, users + 1, rows),
                "event_timestamp": pd.Series(times).astype("datetime64[us, UTC]"),
            }
        )

    def by_rule(self) -> Frame:
        """All features, in plain loops."""
        found = self.activity_at(self.spine.event_timestamp)
        found[DAILY] = self.merged(self.daily, DAILY, allow_exact_matches=False)[DAILY]
        found[PURCHASES] = self.window(-7 * DAY, 0 * DAY)[PURCHASES]
        return found

    def activity_at(self, times: Any, known: Any = None, ttl: Any = 2 * DAY) -> Frame:
        """The features of the view `activity`, asked at these times, maybe known from other times on."""
        history = self.activity.assign(known=self.known if known is None else known).sort_values("event_timestamp")
        groups = {user: rows.to_dict("records") for user, rows in history.groupby("user_id")}
        values = []
        for user, time in zip(self.spine.user_id, times, strict=True):
            last = next((row for row in reversed(groups.get(user, [])) if row["known"] <= time), None)
            too_old = last is None or (ttl is not None and time - last["event_timestamp"] > ttl)
            values.append((np.nan, np.nan) if too_old else (last["logins"], last["spend"]))
        return self.spine.assign(**dict(zip(ACTIVITY, map(list, zip(*values, strict=True)), strict=True)))

    def merged(self, history: Frame, columns: list[str], spine: Frame | None = None, **options: Any) -> Frame:
        """A join by `merge_asof` on the event time."""
        left = (self.spine if spine is None else spine).assign(row=range(ROWS)).sort_values("event_timestamp")
        right = history.sort_values("event_timestamp")[["user_id", "event_timestamp", *columns]]
        found = pd.merge_asof(left, right, on="event_timestamp", by="user_id", **options)
        return found.sort_values("row").drop(columns="row").reset_index(drop=True)

    def newest(self, history: Frame, columns: list[str]) -> Frame:
        """A join that knows no time: the last row of each user."""
        last = history.sort_values("event_timestamp").drop_duplicates("user_id", keep="last")
        return self.spine.merge(last[["user_id", *columns]], on="user_id", how="left")

    def window(self, begin: Any, end: Any) -> Frame:
        """Count and sum of the purchases between two times, seen from T; the second is not part of it."""
        groups = {user: rows.to_dict("records") for user, rows in self.purchases.groupby("user_id")}
        counts, sums = [], []
        for user, time in zip(self.spine.user_id, self.spine.event_timestamp, strict=True):
            first, last = time + begin, time + end
            amounts = [row["amount"] for row in groups.get(user, []) if first <= row["event_timestamp"] < last]
            counts.append(len(amounts))
            sums.append(sum(amounts) if amounts else np.nan)
        return self.spine.assign(purchases_7d=counts, paid_7d=sums)

    def at_midnight(self) -> Frame:
        return self.spine.assign(event_timestamp=self.spine.event_timestamp.dt.floor("D"))


def _of_new_york(gallery: Gallery) -> Frame:
    naive = gallery.spine.event_timestamp.dt.tz_localize(None)
    local = naive.dt.tz_localize("America/New_York", ambiguous=True, nonexistent="shift_forward")
    return gallery.activity_at(local.dt.tz_convert("UTC"))


def _encoded(gallery: Gallery) -> Frame:
    labels = gallery.honest.groupby("user_id").label
    return gallery.honest.assign(user_rate=labels.transform("mean"))


def _encoded_by_the_others(gallery: Gallery) -> Frame:
    labels = gallery.honest.groupby("user_id").label
    others = (labels.transform("sum") - gallery.honest.label) / (labels.transform("count") - 1)
    return gallery.honest.assign(user_rate=others)


def _next_label(gallery: Gallery) -> Frame:
    found = gallery.honest.sort_values(["user_id", "event_timestamp"])
    return found.assign(outcome=found.groupby("user_id").label.shift(-1))


def _next_row(gallery: Gallery) -> Frame:
    shifted = gallery.daily.sort_values(["user_id", "event_timestamp"])
    shifted[DAILY] = shifted.groupby("user_id")[DAILY].shift(-1)
    return gallery.merged(shifted, DAILY, allow_exact_matches=False)


IGNORED = "the created time (loaded_at), the lag of 6 hours, the ttl of 2 days"
LEAKS: dict[str, tuple[Callable[[Gallery], Frame], list[str], str]] = {
    "merge_asof forward": (
        lambda g: g.merged(g.activity, ACTIVITY, direction="forward"),
        ACTIVITY,
        f"equals the next row, later than T, by a join that ignores {IGNORED}",
    ),
    "merge_asof nearest": (
        lambda g: g.merged(g.activity, ACTIVITY, direction="nearest"),
        ACTIVITY,
        f"equals the row nearest to T, before or after it, by a join that ignores {IGNORED}",
    ),
    "merge_asof backward": (lambda g: g.merged(g.activity, ACTIVITY), ACTIVITY, f"ignores {IGNORED}"),
    "naive join": (
        lambda g: g.newest(g.activity, ACTIVITY),
        ACTIVITY,
        f"equals the newest value of all, by a join that ignores {IGNORED}",
    ),
    "newest value": (lambda g: g.newest(g.daily, DAILY), DAILY, "equals the newest value of all"),
    "created time": (
        lambda g: g.activity_at(g.spine.event_timestamp, g.activity.event_timestamp + 6 * HOUR),
        ACTIVITY,
        "ignores the created time (loaded_at)",
    ),
    "lag": (
        lambda g: g.activity_at(g.spine.event_timestamp, np.maximum(g.activity.event_timestamp, g.activity.loaded_at)),
        ACTIVITY,
        "ignores the lag of 6 hours",
    ),
    "ttl": (
        lambda g: g.activity_at(g.spine.event_timestamp, ttl=None),
        ACTIVITY,
        "ignores the ttl of 2 days",
    ),
    "an hour": (
        lambda g: g.activity_at(g.spine.event_timestamp + HOUR),
        ACTIVITY,
        "equals the value known 1 hour later",
    ),
    "a day": (
        lambda g: g.activity_at(g.spine.event_timestamp + DAY),
        ACTIVITY,
        "equals the value known 1 day later",
    ),
    "zone": (
        _of_new_york,
        ACTIVITY,
        "times shifted by a zone: as if T were the time of America/New_York (4 h or 5 h later)",
    ),
    "end of day": (
        lambda g: g.activity_at(g.spine.event_timestamp.dt.floor("D") + DAY - MICROSECOND),
        ACTIVITY,
        "equals the value at the end of the day of T",
    ),
    "date": (
        lambda g: g.activity_at(g.spine.event_timestamp.dt.floor("D") + DAY - MICROSECOND).assign(
            event_timestamp=g.spine.event_timestamp.dt.date
        ),
        ACTIVITY,
        "equals the value at the end of the day of T",
    ),
    "inclusive": (
        lambda g: g.merged(g.daily, DAILY, g.at_midnight()),
        DAILY,
        "is inclusive, where the view is strict",
    ),
    "next row": (_next_row, DAILY, "equals the next row, later than T"),
    "rows of the file": (
        lambda g: g.honest.assign(**{name: g.honest[name].shift(-1) for name in DAILY}),
        DAILY,
        "equals the value of the next row of the file",
    ),
    "centred window": (
        lambda g: g.window(-3.5 * DAY, 3.5 * DAY),
        PURCHASES,
        "equals the window of 7 days that is centred on T",
    ),
    "later window": (lambda g: g.window(-6 * DAY, DAY), PURCHASES, "equals the value known 1 day later"),
    "target encoding": (
        _encoded,
        ["user_rate"],
        "is the mean of the label per user_id, over the whole set (target encoding)",
    ),
    "target encoding by the others": (
        _encoded_by_the_others,
        ["user_rate"],
        "is the mean of the label in the other rows per user_id, over the whole set (target encoding)",
    ),
    "label renamed": (
        lambda g: g.honest.assign(churned=g.honest.label.map({0: "stays", 1: "goes"})),
        ["churned"],
        "is label, the label, by other names",
    ),
    "later label": (_next_label, ["outcome"], "equals label in the next row of the same user_id, later than T"),
    "later row in a column of another name": (
        lambda g: g.merged(g.activity, ["spend"], direction="forward").rename(columns={"spend": "x7"}),
        ["x7"],
        f"as activity:spend: equals the next row, later than T, by a join that ignores {IGNORED}",
    ),
}
"""By name: how a set is made, the columns that leak, and the cause that an audit names."""

FILLED = {"logins": -1.0, "spend": 0.0, "score": 0.25, "grade": "?", "paid_7d": 0.0}
HONEST: dict[str, Callable[[Gallery], Frame]] = {
    "as it is": lambda g: g.honest,
    "pandas backward, strict": lambda g: g.merged(g.daily, DAILY, allow_exact_matches=False),
    "float32": lambda g: g.honest.astype(dict.fromkeys(["spend", "score", "paid_7d"], "float32")),
    "nulls filled": lambda g: g.honest.fillna(FILLED),
    "rounded": lambda g: g.honest.round({"spend": 1, "score": 3, "paid_7d": 2}),
    "naive times": lambda g: g.honest.assign(event_timestamp=g.honest.event_timestamp.dt.tz_localize(None)),
    "texts": lambda g: g.honest.astype({"logins": "str", "spend": "str"}),
    "categories": lambda g: g.honest.astype({"grade": "category"}),
    "other columns": lambda g: g.honest.assign(
        noise=g.random.normal(0, 1, ROWS), number=range(ROWS), constant=1, past=g.honest.groupby("user_id").cumcount()
    ),
    "empty windows as nulls": lambda g: g.honest.assign(purchases_7d=g.honest.purchases_7d.replace(0, np.nan)),
    "rows in another order": lambda g: g.honest.sample(frac=1, random_state=3),
}
"""By name: how a set without a leak is made."""
