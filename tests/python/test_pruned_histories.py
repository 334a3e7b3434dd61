"""Builds from large histories of which the spine needs little: the join reads that part, with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support.projects import BASE, KEYS, VALUE, make_project, view

from pit_join import FeatureStore
from pit_join.training import joins

pytestmark = pytest.mark.dbt

COUNT = "{name: seen_1d, function: count, window: 1 day}, {name: last, function: last, column: value, window: 1 day}"
VIEWS = {
    "fresh": view(f"{KEYS}, ttl: 2 hours", f"{BASE}, {VALUE}"),
    "ever": view(f"{KEYS}, lag: 1 hour", f"{BASE}, {VALUE}"),
    "windows": view(f"{KEYS}, lag: 6 hours, aggregations: [{COUNT}]", f"{BASE}, {VALUE}"),
    "versions": view(
        f"{KEYS}, created_timestamp: created_at, event_key: [number], aggregations: [{COUNT}]",
        f"{BASE}, {VALUE}, {{name: created_at, data_type: timestamptz}}, {{name: number, data_type: bigint}}",
    ),
}
# 1,000 users with a row every hour of ten days from 2026-01-01 on; user 7 has a gap on the second day.
HISTORY = """
    select 'u' || i // 240 as user_id,
        timestamptz '2026-01-01 00:00:00+00' + (i % 240) * interval 1 hour as event_timestamp,
        i::double as value, event_timestamp as created_at, i as number
    from range(240_000) as rows (i)
    where not (i // 240 = 7 and i % 240 between 24 and 47)
    order by user_id, event_timestamp
"""
FEW = [
    ("u3", "2026-01-05 12:30:00"),
    ("u3", "2026-01-06 00:00:00"),
    ("u7", "2026-01-02 12:00:00"),  # too old: the winner lies before all that the spine needs otherwise
    ("u8", "2025-12-31 23:00:00"),  # not yet known
    ("u8", "2026-01-10 23:00:00"),
    ("nobody", "2026-01-05 00:00:00"),
    (None, "2026-01-05 00:00:00"),
    ("u9", None),
]
ALL = [(f"u{number}", "2026-01-10 00:00:00") for number in range(1000)]


def spine(rows: Sequence[tuple[str | None, str | None]]) -> pa.Table:
    users, times = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users),
            "event_timestamp": pa.array(times).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        }
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_project(tmp_path_factory.mktemp("shop"), VIEWS)
    with duckdb.connect(str(made / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name in VIEWS:
            connection.execute(f"create table {name} as {HISTORY}")
    return made


def request(project: Path, rows: Sequence[tuple[str | None, str | None]]) -> Any:
    features = [f"{name}:*" for name in VIEWS]
    return FeatureStore(project).prepare_training_set(spine(rows), features, full_feature_names=True, provenance=True)


def test_the_result_is_that_of_the_whole_history(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = request(project, FEW).run()
    monkeypatch.setattr(joins, "_LEAST_PRUNED", 10**9)
    whole = request(project, FEW).run()
    assert pruned.to_arrow().equals(whole.to_arrow())
    assert [one.statuses for one in pruned.coverage] == [one.statuses for one in whole.coverage]
    assert pruned.to_arrow()["fresh__status"].to_pylist() == [
        "PRESENT", "PRESENT", "OUTSIDE_MAX_AGE", "NOT_YET_KNOWN", "PRESENT", "NOT_FOUND", "NULL_KEY", "NULL_KEY"
    ]  # fmt: skip


def test_the_plan_says_so(project: Path) -> None:
    few, everything = request(project, FEW).plan(), request(project, ALL).plan()
    assert few["fresh"] == ("asof", "239,976 rows; only the rows that the spine needs are joined")
    assert {name for name, (_, why) in few.items() if why.endswith("needs are joined")} == {"fresh", "ever", "windows"}
    # Of all users only the history that is fresh enough is needed.
    assert {name for name, (_, why) in everything.items() if why.endswith("needs are joined")} == {"fresh", "windows"}


def test_a_project_with_a_join_of_its_own_reads_all(project: Path, tmp_path: Path) -> None:
    macro = "point_in_time_join(spine, history, features, options)"
    own = f"{{% macro duckdb__{macro} %}}{{{{ return(pit_join.default__{macro}) }}}}{{% endmacro %}}"
    made = make_project(tmp_path / "shop", VIEWS)
    (made / "macros").mkdir()
    (made / "macros" / "own.sql").write_text(own)
    (made / "warehouse.duckdb").symlink_to(project / "warehouse.duckdb")
    assert request(made, FEW).plan()["fresh"] == ("asof", "239,976 rows")
