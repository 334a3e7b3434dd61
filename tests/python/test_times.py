"""Instants and gaps in every form that Python, pandas and NumPy have for them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from support.stores import AT, put

from pit_join import FeatureStore, RequestError
from pit_join.online.opening import open_store
from pit_join.records.layout import moment_of
from pit_join.times import gap_text, parse_instant, read_instant
from pit_join.training.request import TrainingRequest

MIDNIGHT, BEFORE = "2010-03-05T00:00:00+00:00", "1960-03-05T01:02:03.999999+00:00"
INSTANTS = [
    ("2010-03-05", MIDNIGHT),
    (" 2010-03-05T00:00Z ", MIDNIGHT),
    ("2010-03-05T01:00+01:00", MIDNIGHT),
    ("1960-03-05 01:02:03.999999999", BEFORE),
    (date(2010, 3, 5), MIDNIGHT),
    (datetime(2010, 3, 5), MIDNIGHT),
    (datetime(2010, 10, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1), "2010-10-31T01:30:00+00:00"),
    (pd.Timestamp("2010-03-05"), MIDNIGHT),
    (pd.Timestamp("2010-03-05 01:00", tz="Europe/Berlin"), MIDNIGHT),
    (pd.Timestamp("1960-03-05 01:02:03.999999999"), BEFORE),
    (np.datetime64("2010-03-05"), MIDNIGHT),
    (np.array("2010-03-05T00:00", "M8[m]"), MIDNIGHT),
    (np.datetime64("1960-03-05T01:02:03.999999999"), BEFORE),
    (np.datetime64("2010-03", "M"), "2010-03-01T00:00:00+00:00"),
]  # fmt: skip
NO_INSTANTS = [
    "", "now", "2010-02-30", b"2010-03-05", 5, 5.5, True, [], time(1), timedelta(1), np.float64(5), np.int64(5), pd.NaT,
    np.datetime64("NaT"), np.datetime64("20260301", "Y"), np.array(["2010-03-05"], "M8[D]"), pd.Series(["2010-03-05"]),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), INSTANTS, ids=repr)
def test_instants(given: Any, expected: str) -> None:
    found = parse_instant(given)
    assert (found.isoformat(), type(found), found.tzinfo) == (expected, datetime, timezone.utc)
    assert read_instant(given) == found
    assert moment_of(given) == (found - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


@pytest.mark.parametrize("given", NO_INSTANTS, ids=repr)
@pytest.mark.parametrize("read", [parse_instant, read_instant, moment_of])
def test_what_is_no_instant(read: Any, given: Any) -> None:
    if read is moment_of and type(given) is datetime:  # which needs no offset that Python can write
        return
    with pytest.raises(
        RequestError, match=r"^cannot read the instant .*; write for example .2026-03-18 14:30."
    ) as raised:
        read(given)
    assert "\n" not in str(raised.value)


GAPS = [
    (None, None),
    ("1 day", "1 day"),
    (timedelta(days=1), "1 day"),
    (timedelta(0), "0 days"),
    (timedelta(hours=36), "36 hours"),
    (timedelta(milliseconds=1), "1 millisecond"),
    (pd.Timedelta("90s"), "90 seconds"),
    (np.timedelta64(2, "W"), "14 days"),
    (np.timedelta64(3_600 * 10**9, "ns"), "1 hour"),
]
NO_GAPS = [
    5, 5.0, True, [], pd.NaT, timedelta(microseconds=1), -timedelta(days=1), timedelta.max, pd.Timedelta(1, "ns"),
    np.timedelta64(1, "ns"), np.timedelta64(1, "M"), np.timedelta64(5), np.timedelta64("NaT"), np.int64(5),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), GAPS, ids=repr)
def test_gaps(given: Any, expected: str | None) -> None:
    assert gap_text(given) == TrainingRequest("labels", (), gap=given).gap == expected


@pytest.mark.parametrize("given", NO_GAPS, ids=repr)
def test_what_is_no_gap(given: Any) -> None:
    with pytest.raises(RequestError, match=r"^a gap is a duration of whole milliseconds"):
        TrainingRequest("labels", (), gap=given)


FORMS = [
    AT,
    AT.replace(tzinfo=None),
    "2026-03-01",
    date(2026, 3, 1),
    pd.Timestamp(AT),
    np.datetime64("2026-03-01", "ns"),
]
READS = [
    lambda store, now: store.get_online_features(["a:x"], {"user_id": [1]}, now=now).to_dict(),
    lambda store, now: store.online_reader(["a:x"]).get({"user_id": 1}, now=now),
    lambda store, now: store.online_reader(["a:x"]).get_online_features([{"user_id": 1}], now=now).to_dict(),
]
CALLS = [
    *READS,
    lambda store, now: store.nearest("a", "x", [1.0], now=now),
    lambda store, now: store.export(as_of=now),
    lambda store, now: store.backfill(start=now),
    lambda store, now: store.backfill(end=now),
    lambda store, now: store.monitor("log", start=now),
    lambda store, now: store.monitor("log", end=now),
]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    put(open_store(str(tmp_path / "online"), create=True), {"a": {"user_id": [1], "x": [1.5]}})
    (tmp_path / "dbt_project.yml").write_text("{name: shop, profile: shop}")
    (tmp_path / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb, path: w.duckdb}}}")
    return FeatureStore(tmp_path, online_store=tmp_path / "online")


@pytest.mark.parametrize("call", READS)
def test_every_form_is_one_instant(store: FeatureStore, call: Any) -> None:
    assert all(call(store, now) == call(store, AT) for now in FORMS)


@pytest.mark.parametrize("given", [5, "soon", pd.NaT, [], timedelta(1)], ids=repr)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_refuses_what_is_no_instant(store: FeatureStore, call: Any, given: Any) -> None:
    with pytest.raises(RequestError, match=r"^cannot read the instant"):
        call(store, given)
