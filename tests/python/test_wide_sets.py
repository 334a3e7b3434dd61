"""Training sets with more columns than a table of PostgreSQL may have, beside the same ones on DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import psycopg
import pytest
from support.postgres import profile, running_postgres
from support.projects import KEYS, make_project, view
from support.two_engines import unlike

from pit_join import FeatureStore

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

# As many columns as a table may have beside those of the join, and as many doubles as fit into a row.
FEATURES = {"narrow": (1_590, "smallint"), "wide": (500, "double precision"), "wider": (500, "double precision")}
FRAME = pd.DataFrame(
    {
        "user_id": [3, 1, 1, None, 9, 2],
        "event_timestamp": pd.to_datetime([f"2026-01-0{day}T12:00:00Z" for day in (3, 1, 4, 1, 2, 2)]),
        **{f"own_{number}": range(6) for number in range(10)},
    }
).astype({"user_id": "Int64"})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project of three views with 2,590 features, of which both engines have the tables."""
    keys = "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}"
    views = {
        name: view(KEYS, ", ".join([keys, *(f"{{name: {name}_{i}, data_type: {kind}}}" for i in range(count))]))
        for name, (count, kind) in FEATURES.items()
    }
    folder = make_project(tmp_path_factory.mktemp("wide") / "shop", {**views, "labels": ""})
    with running_postgres() as url:
        (folder / "profiles" / "profiles.yml").write_text(profile(url))
        with (
            psycopg.connect(url, autocommit=True) as server,
            duckdb.connect(str(folder / "warehouse.duckdb")) as file,
        ):
            for schema, connection, numbers in (
                ("shop", server, "generate_series(0, 7) as n"),
                ("main", file, "range(8) as t(n)"),
            ):
                time = "timestamptz '2026-01-01 00:00+00' + n * interval '12' hour as event_timestamp"
                key = f"select cast(1 + n % 2 as bigint) as user_id, {time}"
                connection.execute("set TimeZone = 'UTC'")
                connection.execute(f"create schema if not exists {schema}")
                for name, (count, kind) in FEATURES.items():
                    values = ", ".join(
                        f"cast(case when (n + {i}) % 5 > 0 then n * 1000 + {i} end as {kind}) as {name}_{i}"
                        for i in range(count)
                    )
                    connection.execute(f"create table {schema}.{name} as {key}, {values} from {numbers}")  # type: ignore[arg-type]
                connection.execute(f"create table {schema}.labels as {key}, cast(n as bigint) as label from {numbers}")  # type: ignore[arg-type]
        yield folder


@pytest.mark.parametrize("spine", ["labels", "frame"])
def test_a_set_of_2590_features(shop: Path, spine: str) -> None:
    asked = [f"{name}:*" for name in FEATURES]
    one, other = (
        FeatureStore(shop, target=target).get_historical_features(FRAME if spine == "frame" else spine, asked)
        for target in ("server", "file")
    )
    assert one.features.num_columns == 2_590
    assert one.coverage[0].matched == (3 if spine == "frame" else 8)
    assert not unlike(one.to_arrow(), other.to_arrow(), ["label"] if spine == "labels" else None)[:5]
