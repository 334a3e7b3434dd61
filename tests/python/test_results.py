"""The kept results of monitoring: runs put together by month, read while they are written, and removed in time."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pit_join.errors import PitJoinError
from pit_join.monitoring import results
from pit_join.monitoring.results import Result, keep_results, read_results

NOW = datetime(2013, 3, 8, 17, 30, tzinfo=timezone.utc)


def _keep(folder: Path, value: float, *, view: str = "logins", check: str = "drift") -> None:
    keep_results(folder, [Result(check, view, "count", value, details={"shares": [value]})], NOW)


def _values(folder: Path) -> list[float]:
    return read_results(folder)["value"].to_pylist()


def test_runs_come_back_in_order_and_whole(tmp_path: Path) -> None:
    for number in range(100):
        _keep(tmp_path / "kept", float(number))
    assert _values(tmp_path / "kept") == [float(number) for number in range(100)]
    assert len(list((tmp_path / "kept").glob("*.parquet"))) <= 1 + results._MOST_RUNS
    (row,) = read_results(tmp_path / "kept").slice(7, 1).to_pylist()
    assert (row["check"], row["view"], row["feature"], row["details"], row["now"]) == (
        "drift", "logins", "count", '{"shares":[7.0]}', NOW,
    )  # fmt: skip


def test_a_run_that_was_put_in_before_a_crash_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(results._MOST_RUNS):
        _keep(tmp_path, float(number))
    with monkeypatch.context() as crashing:
        crashing.setattr(Path, "unlink", lambda path, missing_ok=False: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(PitJoinError, match="cannot be kept"):
            _keep(tmp_path, 99.0)
    assert len(list(tmp_path.glob("run-*"))) == results._MOST_RUNS + 1
    assert _values(tmp_path) == [*map(float, range(results._MOST_RUNS)), 99.0]
    _keep(tmp_path, 100.0)
    assert _values(tmp_path) == [*map(float, range(results._MOST_RUNS)), 99.0, 100.0]


def test_a_new_month_closes_the_one_before_and_old_months_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        moment = datetime(2026, 11, 30, 23, 59, tzinfo=timezone.utc)

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return cls.moment

    monkeypatch.setattr(results, "datetime", Clock)
    _keep(tmp_path, 1.0)
    Clock.moment += timedelta(minutes=2)
    _keep(tmp_path, 2.0)
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == [
        "results-2026-11.parquet",
        "results-2026-12.parquet",
    ]
    assert read_results(tmp_path, datetime(2026, 12, 1, tzinfo=timezone.utc))["value"].to_pylist() == [2.0]
    Clock.moment += results.RETENTION
    _keep(tmp_path, 3.0)
    assert _values(tmp_path) == [2.0, 3.0]
    Clock.moment += timedelta(days=31)
    _keep(tmp_path, 4.0)
    assert _values(tmp_path) == [3.0, 4.0]


def test_runs_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def run(first: int) -> None:
        for number in range(40):
            _keep(tmp_path, float(first + number))

    threads = [threading.Thread(target=run, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        now = len(_values(tmp_path))
        assert now >= seen
        seen = now
    for thread in threads:
        thread.join()
    assert sorted(_values(tmp_path)) == sorted(100.0 * i + n for i in range(4) for n in range(40))


def test_a_damaged_file_is_named_and_older_files_lack_columns(tmp_path: Path) -> None:
    _keep(tmp_path, 1.0)
    (path,) = tmp_path.glob("run-*")
    pq.write_table(pq.read_table(path).drop_columns(["place", "owner"]), path)
    assert read_results(tmp_path).to_pylist()[0]["owner"] is None
    (tmp_path / "results-2026-01.parquet").write_bytes(b"PAR1")
    with pytest.raises(PitJoinError, match=r"results-2026-01\.parquet cannot be read"):
        read_results(tmp_path)
