"""Tables in memory: a spine comes back as it went in, in its own library, and its features in dtypes of their types."""

from __future__ import annotations

import csv
import datetime as dt
import random
import sys
import tracemalloc
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import KEYS, make_project, view
from support.runs import sampled

from pit_join import FeatureStore, PitJoinError
from pit_join.errors import EntityError, SpineError
from pit_join.serving.entity_rows import EntityRows
from pit_join.training.joins import ViewJoins
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

pytestmark = pytest.mark.dbt

T = dt.datetime(2026, 3, 5)
USERS = ["u2", "u1", "u2", "nobody"]
SCORES = [2, 1, 2, None]
BIG = 2**53 + 1
TOKEN = "0a000000-0000-0000-0000-00000000000b"
TYPES = {
    "score": "tinyint",
    "big": "bigint",
    "size": "ubigint",
    "flag": "boolean",
    "half": "float",
    "ratio": "double",
    "word": "varchar",
    "day": "date",
    "seen": "timestamptz",
    "listed": "bigint[]",
    "price": "decimal(9, 2)",
}
# u1 has a value of each, u2 only a score: what comes of a column must not depend on it.
VALUES = (
    f"1, {BIG}, 18446744073709551615, true, 0.5, 0.1, 'a', date '2026-03-01', timestamptz '2026-03-01 12:00:00+00', "
    f"[1, null, {BIG}], 1.50"
)
ON_DEMAND = """
exposures:
  - name: doubled
    type: ml
    owner: {name: us, email: us@example.com}
    depends_on: [ref('users')]
    config: {meta: {pit_join: {features: ["users:score", {on_demand: twice, arguments: {amount: paid}}]}}}
"""
MACRO = "{% macro twice(amount) -%}\n{{ amount }} * 2\n{%- endmacro %}\n"
MACRO_YAML = """
macros:
  - name: twice
    arguments: [{name: amount, type: double}]
    config: {meta: {pit_join: {returns: double}}}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    features = ", ".join(f"{{name: {name}, data_type: '{kind}'}}" for name, kind in TYPES.items())
    time = "{name: event_timestamp, data_type: timestamp}"
    views = {
        "users": view(KEYS, f"{{name: user_id, data_type: varchar}}, {time}, {features}"),
        "numbers": view(
            "entity: number, join_keys: [number]",
            f"{{name: number, data_type: bigint}}, {time}, {{name: square, data_type: bigint}}",
        ),
        **{
            name: view(
                f"entity: {name}, join_keys: [token]",
                f"{{name: token, data_type: {kind}}}, {time}, {{name: {name}_count, data_type: bigint}}",
            )
            for name, kind in (("tokens", "uuid"), ("notes", "varchar"))
        },
    }
    project = make_project(tmp_path_factory.mktemp("frames") / "shop", views, ON_DEMAND)
    (project / "macros").mkdir()
    (project / "macros" / "twice.sql").write_text(MACRO)
    (project / "macros" / "macros.yml").write_text(MACRO_YAML)
    names = ", ".join(TYPES)
    casts = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in TYPES.items())
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute(
            "set TimeZone = 'UTC'; create table users as select user_id, timestamp '2026-03-01' as event_timestamp, "
            f"{casts} from (values ('u1', {VALUES}), ('u2', 2{', null' * (len(TYPES) - 1)})) as t(user_id, {names})"
        )
        connection.execute(
            "create table numbers as select i as number, timestamp '2026-03-01' as event_timestamp, i * i as square "
            "from range(2000) as r(i)"
        )
        for name, kind in (("tokens", "uuid"), ("notes", "varchar")):
            connection.execute(
                f"create table {name} as select '{TOKEN}'::{kind} as token, timestamp '2026-03-01' as event_timestamp, "
                f"7::bigint as {name}_count"
            )
    FeatureStore(project).export(as_of=T)
    return project


@pytest.fixture(scope="module")
def store(shop: Path) -> FeatureStore:
    return FeatureStore(shop)


def score_of(store: FeatureStore, spine: Any, **more: Any) -> Any:
    return store.get_historical_features(spine, ["users:score"], **more)


# A spine comes back -----------------------------------------------------------------------------------------------


def pandas_frame() -> pd.DataFrame:
    """A column of every kind that pandas has, some of which neither Arrow nor DuckDB can hold."""
    columns = {
        "user_id": USERS,
        "event_timestamp": [T] * 4,
        "Int64": pd.array([BIG, None, 1, 2], dtype="Int64"),
        "UInt8": pd.array([255, None, 1, 2], dtype="UInt8"),
        "int8": np.array([1, 2, 3, -4], dtype="int8"),
        "boolean": pd.array([True, None, False, True], dtype="boolean"),
        "Float32": pd.array([0.1, None, 1, 2], dtype="Float32"),
        "float16": np.array([1.5, np.nan, 2, 3], dtype="float16"),
        "complex": np.array([1j, 2, 3, 4]),
        "ordered": pd.Categorical(["hi", None, "lo", "hi"], categories=["lo", "hi", "never"], ordered=True),
        "category": pd.Categorical([3, None, 1, 3]),
        "timedelta": pd.to_timedelta(["1 day", None, "1 us", "-2 h"]),
        "Berlin": pd.to_datetime(["2026-03-05", None, "2026-03-06", "2026-03-29"]).tz_localize("Europe/Berlin"),
        "seconds": np.array(["0001-01-01", "NaT", "2026-01-01", "9999-12-31"], dtype="datetime64[s]"),
        "period": pd.period_range("2026-01", periods=4, freq="M"),
        "interval": pd.interval_range(0, 4),
        "sparse": pd.arrays.SparseArray([0, 0, 1, 0]),
        "string": pd.array(["a", None, "c", "d"], dtype="string"),
        "string[pyarrow]": pd.array(["a", None, "c", "d"], dtype="string[pyarrow]"),
        "int64[pyarrow]": pd.array([BIG, None, 1, 2], dtype="int64[pyarrow]"),
        "list[pyarrow]": pd.array([[1], None, [], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int16()))),
        "mixed": pd.Series(["a", 7, None, 1.5], dtype=object),
        "sets": pd.Series([{1}, None, set(), {2}], dtype=object),
        "decimals": pd.Series([Decimal("1.10"), None, Decimal(2), Decimal(3)], dtype=object),
        "uuids": pd.Series([uuid.UUID(int=n) for n in range(4)], dtype=object),
        "huge": pd.Series([2**70, None, 1, 2], dtype=object),
        7: [1, 2, 3, 4],
    }
    return pd.DataFrame(columns)


INDEXES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "range": lambda frame: frame,
    "filtered": lambda frame: frame[[True, False, True, True]],
    "reversed": lambda frame: frame[::-1],
    "repeated": lambda frame: frame.set_axis([7, 7, 0, 7]),
    "named": lambda frame: frame.set_axis(pd.Index([4, 3, 2, 1], name="row")),
    "named range": lambda frame: frame.set_axis(pd.RangeIndex(10, 50, 10, name="row")),
    "times": lambda frame: frame.set_axis(pd.date_range("2026-01-01", periods=4, freq="h")),
    "key": lambda frame: frame.set_index("user_id"),
    "key, kept": lambda frame: frame.set_index("user_id", drop=False),
    "key and time": lambda frame: frame.set_index(["event_timestamp", "user_id"]),
    "levels": lambda frame: frame.set_index(pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=[None, "n"])),
}


@pytest.mark.parametrize("index", sampled(INDEXES, 4))
def test_a_pandas_frame_comes_back(store: FeatureStore, index: str) -> None:
    spine = INDEXES[index](pandas_frame())
    before = spine.copy()
    built = score_of(store, spine)
    for dtypes in ("nullable", "numpy"):
        found = built.to_df(dtypes)
        pd.testing.assert_frame_equal(found[spine.columns], before)
        pd.testing.assert_index_equal(found.index, before.index)
    pd.testing.assert_frame_equal(spine, before)
    users = spine["user_id"] if "user_id" in spine else spine.index.get_level_values("user_id")
    expected = [dict(zip(USERS, SCORES, strict=True))[user] for user in users]
    assert [None if score is pd.NA else score for score in built.to_df()["score"]] == expected


@pytest.mark.parametrize(
    ("index", "names"),
    [
        ("range", []),
        ("repeated", []),
        ("named", ["row"]),
        ("key", ["user_id"]),
        ("key, kept", []),
        ("key and time", ["event_timestamp", "user_id"]),
        ("levels", ["n"]),
    ],
)
def test_named_levels_of_an_index_are_columns_elsewhere(
    store: FeatureStore, tmp_path: Path, index: str, names: list[str]
) -> None:
    spine = INDEXES[index](pandas_frame()[["user_id", "event_timestamp", "Int64", 7]])
    built = score_of(store, spine)
    wanted = [*names, *map(str, spine.columns), "score"]
    assert built.to_arrow().column_names == built.to_polars().columns == wanted
    for name in names:
        assert built.to_arrow()[name].to_pylist() == spine.index.get_level_values(name).tolist()
    for ending, read in (("parquet", pq.read_table), ("csv", pd.read_csv)):
        built.write(tmp_path / f"set.{ending}")
        table = read(tmp_path / f"set.{ending}")
        assert list(getattr(table, "column_names", table.columns)) == wanted
    assert pq.read_table(tmp_path / "set.parquet")["Int64"].to_pylist() == [BIG, None, 1, 2]


@pytest.mark.parametrize("index", ["range", "filtered", "named", "named range", "key", "key and time", "levels"])
@pytest.mark.parametrize("source", ["in memory", "file"])
def test_pandas_reads_from_a_file_what_it_has_in_memory(
    store: FeatureStore, tmp_path: Path, index: str, source: str
) -> None:
    # What no Parquet file of pandas holds, or pandas reads from its own file as something else.
    foreign = ["complex", "sparse", "mixed", "sets", "huge", "uuids", "list[pyarrow]", "category", "seconds"]
    frame = INDEXES[index](pandas_frame().drop(columns=foreign))
    frame.columns = frame.columns.astype(str)
    path = tmp_path / "spine.parquet"
    frame.to_parquet(path)
    built = store.get_historical_features(frame if source == "in memory" else path, ["users:score", "users:flag"])
    built.write(tmp_path / "set.parquet")
    found, wanted = pd.read_parquet(tmp_path / "set.parquet"), pd.read_parquet(path)
    unnamed = [number for number, name in enumerate(wanted.index.names) if name is None]
    if source == "in memory" and unnamed:  # they are in no file
        wanted = wanted.reset_index(drop=True) if wanted.index.nlevels == 1 else wanted.reset_index(unnamed, drop=True)
    pd.testing.assert_frame_equal(found[wanted.columns], wanted)
    assert [str(kind) for kind in found[["score", "flag"]].dtypes] == ["Int8", "boolean"]
    in_memory = built.to_arrow().to_pandas()
    pd.testing.assert_frame_equal(in_memory, found)


POLARS: dict[str, pl.Series] = {
    "Categorical": pl.Series(["a", None, "b", "a"], dtype=pl.Categorical),
    "Enum": pl.Series(["a", None, "b", "a"], dtype=pl.Enum(["b", "a", "never"])),
    "Duration": pl.Series([dt.timedelta(1), None, dt.timedelta(0), dt.timedelta(-1)], dtype=pl.Duration("ms")),
    "Time": pl.Series([dt.time(1), None, dt.time(2), dt.time(3)]),
    "Int128": pl.Series([2**100, None, 1, 2], dtype=pl.Int128),
    "Int8": pl.Series([1, None, 2, 3], dtype=pl.Int8),
    "UInt64": pl.Series([2**64 - 1, None, 2, 3], dtype=pl.UInt64),
    "Datetime": pl.Series([T, None, T, T], dtype=pl.Datetime("ms", "Europe/Berlin")),
    "Array": pl.Series([[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]], dtype=pl.Array(pl.Float32, 2)),
    "Decimal": pl.Series(["1.10", None, "2", "3"]).cast(pl.Decimal(10, 2)),
    "Null": pl.Series([None] * 4, dtype=pl.Null),
    "Struct": pl.Series([{"a": 1}, None, {"a": None}, {"a": 2}]),
    "List": pl.Series([["x"], None, [], ["y", None]]),
    "Binary": pl.Series([b"x", None, b"", b"y"]),
    "Float32": pl.Series([0.1, None, float("nan"), 1], dtype=pl.Float32),
}


@pytest.mark.parametrize("lazy", [False, True])
def test_a_polars_frame_comes_back(store: FeatureStore, lazy: bool) -> None:
    spine = pl.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, **POLARS})
    found = score_of(store, spine.lazy() if lazy else spine).to_polars()
    polars.testing.assert_frame_equal(found.select(spine.columns), spine)
    assert found["score"].to_list() == SCORES
    assert found.schema["score"] == pl.Int8
    objects = pl.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, "o": pl.Series([{1}] * 4, dtype=pl.Object)})
    found = score_of(store, objects).to_polars()
    assert (found.schema["o"], found["o"].to_list()) == (pl.Object, [{1}] * 4)


def test_a_lazy_frame_that_cannot_be_collected(store: FeatureStore) -> None:
    spine = pl.LazyFrame({"user_id": USERS, "event_timestamp": [T] * 4}).select(pl.col("user_id"), pl.col("no_such"))
    with pytest.raises(SpineError, match=r"the spine given in memory: the table cannot be read: .*no_such"):
        score_of(store, spine)


def arrow_columns() -> dict[str, pa.Array]:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1, 3, 4], pa.int32()), pa.array(["a", None, "b"]))
    return {
        "duration": pa.array([dt.timedelta(1), None, None, dt.timedelta(2)]),
        "dictionary": pa.array(["a", None, "b", "a"]).dictionary_encode(),
        "ordered": pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 1], pa.int8()), ["lo", "hi"], ordered=True),
        "runs": runs,
        "halffloat": pa.array(np.array([1.5, 2.5, 3.5, 4.5], dtype="float16")),
        "decimal256": pa.array([Decimal("1.1"), None, Decimal(10) ** 40, Decimal(2)], pa.decimal256(50, 2)),
        "string_view": pa.array(["a", None, "b", "c"], pa.string_view()),
        "binary_view": pa.array([b"a", None, b"b", b"c"], pa.binary_view()),
        "list_view": pa.array([[1], None, [], [2, 3]], pa.list_view(pa.int64())),
        "fixed": pa.array([b"ab", None, b"cd", b"ef"], pa.binary(2)),
        "time32": pa.array([dt.time(1), None, dt.time(2), dt.time(3)], pa.time32("s")),
        "date64": pa.array([dt.date(2026, 3, 5), None, None, None], pa.date64()),
        "null": pa.nulls(4),
        "map": pa.array([[("k", 1)], None, [], [("l", None)]], pa.map_(pa.string(), pa.int64())),
        "ns": pa.array([1772668800123456789, None, 0, 1], pa.timestamp("ns", "Europe/Berlin")),
        "uint64": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"] * 4, pa.binary(16))),
        "interval": pa.array([(1, 2, 3), None, (0, 0, 0), (0, 0, 1)], pa.month_day_nano_interval()),
        "large": pa.array(["a", None, "b", "c"], pa.large_string()),
        "embedding": pa.array([[np.float16(1.5)] * 2, None, None, None], pa.list_(pa.float16(), 2)),
    }


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_arrow_table_comes_back(store: FeatureStore, tmp_path: Path, pieces: int) -> None:
    columns = {"user_id": pa.array(USERS), "event_timestamp": pa.array([T] * 4), **arrow_columns()}
    fields = [pa.field(name, kind.type, metadata={"unit": "€"}) for name, kind in columns.items()]
    spine = pa.table(list(columns.values()), schema=pa.schema(fields, {"source": "shop"}))
    spine = pa.concat_tables([spine.slice(0, pieces), spine.slice(pieces)])
    built = score_of(store, spine)
    found = built.to_arrow()
    assert found.select(spine.column_names).equals(spine, check_metadata=True)
    assert found["score"].to_pylist() == SCORES
    built.write(tmp_path / "set.arrow")
    kept = pa.ipc.open_file(tmp_path / "set.arrow").read_all().select(spine.column_names)
    assert kept.replace_schema_metadata(spine.schema.metadata).equals(spine)


@pytest.mark.parametrize("column", sampled(["dictionary", "runs", "string_view", "decimal256", "halffloat", "uuid"], 2))
def test_files_hold_what_few_readers_know(store: FeatureStore, tmp_path: Path, column: str) -> None:
    given = arrow_columns()[column]
    built = score_of(store, pa.table({"user_id": USERS, "event_timestamp": [T] * 4, "c": given}))
    built.write(tmp_path / "set.parquet")
    assert pq.read_table(tmp_path / "set.parquet")["c"].to_pylist() == given.to_pylist()
    built.write(tmp_path / "set.csv")
    with duckdb.connect() as connection:
        read = connection.execute(f"select c from read_csv('{tmp_path}/set.csv', all_varchar = true)").fetchall()
    values = [value.tolist() if isinstance(value, np.ndarray) else value for value in given.to_pylist()]
    assert [text for (text,) in read] == [None if value is None else str(value) for value in values]


def test_files_say_which_columns_they_cannot_hold(store: FeatureStore, tmp_path: Path) -> None:
    interval, embedding = arrow_columns()["interval"], arrow_columns()["embedding"]
    period = pa.array(pd.Series(pd.period_range("2026-01", periods=4, freq="M")))
    spine = pa.table({"user_id": USERS, "event_timestamp": [T] * 4, "i": interval, "e": embedding, "p": period})
    built = score_of(store, spine)
    with pytest.raises(
        PitJoinError,
        match=r"set.parquet: 'i' is month_day_nano_interval \(Unhandled type [^)]+\); change the column in the "
        "model, or cast it to a type",
    ):
        built.write(tmp_path / "set.parquet")
    says = (
        r"cannot write .*set.csv: DuckDB cannot read the columns 'e: fixed.*halffloat.*', 'p: ext.*period.*'; convert"
    )
    with pytest.raises(PitJoinError, match=says):
        built.write(tmp_path / "set.csv")
    assert list(tmp_path.iterdir()) == []


def test_from_one_library_to_another(store: FeatureStore) -> None:
    """What the other library has no type for is an error that names it, and nothing else is."""
    names = ["Categorical", "Enum", "Duration", "UInt64", "Datetime", "Decimal", "Null", "List"]
    some = pl.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, **{name: POLARS[name] for name in names}})
    built = score_of(store, some)
    assert [built.to_arrow()[name].to_pylist() for name in names] == [some[name].to_list() for name in names]
    frame = built.to_df()
    for name in ("Categorical", "Enum"):
        assert (str(frame[name].dtype), frame[name].tolist()[::2]) == ("category", ["a", "b"])
        assert frame[name].isna().tolist() == [False, True, False, False]
    assert (str(frame["UInt64"].dtype), frame["UInt64"].tolist()) == ("UInt64", [2**64 - 1, pd.NA, 2, 3])
    odd = pl.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, "i": POLARS["Int128"]}).with_columns(
        pl.Series("o", [{1}] * 4, dtype=pl.Object)
    )
    for convert in (score_of(store, odd).to_arrow, score_of(store, odd).to_df):
        with pytest.raises(SpineError, match=r"hold these columns .*: 'i' \(Int128: .*\), 'o' \(Object: objects of Py"):
            convert()
    mixed = pandas_frame()[["user_id", "event_timestamp", "mixed", "complex", "sparse", "string"]]
    with pytest.raises(SpineError, match=r": 'mixed' \(object: .*\), 'complex' \(complex128: .*\), 'sparse' \(Sparse"):
        score_of(store, mixed).to_arrow()
    runs, large = arrow_columns()["runs"], arrow_columns()["decimal256"]
    built = score_of(store, pa.table({"user_id": USERS, "event_timestamp": [T] * 4, "r": runs, "d": large}))
    assert built.to_df()["r"].isna().tolist() == [False, True, True, False]
    with pytest.raises(
        PitJoinError, match=r"polars cannot hold the column 'd: decimal256\(50, 2\)' .*use to_arrow\(\)"
    ):
        built.to_polars()


SPELLINGS = [TOKEN, TOKEN.upper(), f"{{{TOKEN}}}", TOKEN.replace("-", ""), None]


@pytest.mark.parametrize("kind", sampled(["pandas", "category", "polars", "arrow", "parquet", "csv"], 2))
def test_texts_of_uuids_come_back_as_they_are_written(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"token": pd.Series(SPELLINGS, dtype=object), "event_timestamp": [T] * 5})
    spine: Any = frame
    if kind == "category":
        spine = frame.astype({"token": "category"})
    elif kind == "polars":
        spine = pl.DataFrame({"token": SPELLINGS, "event_timestamp": [T] * 5})
    elif kind == "arrow":
        spine = pa.Table.from_pandas(frame)
    elif kind == "parquet":
        spine = tmp_path / "spine.parquet"
        frame.to_parquet(spine)
    elif kind == "csv":
        spine = tmp_path / "spine.csv"
        frame.to_csv(spine, index=False)
    built = store.get_historical_features(spine, ["tokens:tokens_count"], provenance=True)
    assert built.to_arrow()["tokens__status"].to_pylist() == ["PRESENT"] * 4 + ["NULL_KEY"]
    built.write(tmp_path / "set.csv")
    with (tmp_path / "set.csv").open(newline="") as file:
        assert [row["token"] or None for row in csv.DictReader(file)] == SPELLINGS
    if kind != "csv":  # the columns of a CSV file have the types of the views
        assert built.to_arrow()["token"].to_pylist() == SPELLINGS


def test_what_pandas_notes_of_a_frame_comes_back(store: FeatureStore) -> None:
    class Labels(pd.DataFrame):
        @property
        def _constructor(self) -> type:
            return Labels

    spine = Labels({"user_id": USERS, "event_timestamp": [T] * 4})
    spine.attrs = {"source": "survey"}
    found = score_of(store, spine).to_df()
    assert (type(found), found.attrs) == (Labels, {"source": "survey"})


def test_changes_of_a_frame_do_not_reach_the_set(store: FeatureStore) -> None:
    frame = pd.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, "label": np.array([1, 2, 3, 4])})
    columns = pl.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, "label": [1, 2, 3, 4]})
    prepared, built, of_polars = (
        store.prepare_training_set(frame, ["users:score"]),
        score_of(store, frame),
        score_of(store, columns),
    )
    frame.loc[:, "label"] = 9
    frame.loc[0, "user_id"] = "u1"
    frame.index = pd.Index([9, 8, 7, 6])
    columns[0, "label"] = 9
    columns.insert_column(0, pl.Series("more", [0] * 4))
    for found in (built, prepared.run()):
        assert found.to_df()["label"].tolist() == found.to_arrow()["label"].to_pylist() == [1, 2, 3, 4]
        assert found.to_df()["user_id"].tolist() == USERS
        assert found.to_df().index.tolist() == [0, 1, 2, 3]
    assert of_polars.to_polars().columns == ["user_id", "event_timestamp", "label", "score"]
    assert of_polars.to_polars()["label"].to_list() == [1, 2, 3, 4]
    result = built.to_df()
    result.loc[:, "label"] = 9
    assert built.to_df()["label"].tolist() == [1, 2, 3, 4]


def test_carried_columns_are_copied_once(store: FeatureStore) -> None:
    columns = {f"c{number}": np.full(100_000, float(number)) for number in range(30)}
    spine = pd.DataFrame(
        {"number": np.arange(100_000), "event_timestamp": np.datetime64("2026-03-05", "us"), **columns}
    )
    carried, arrow = sum(column.nbytes for column in columns.values()), pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        built = store.get_historical_features(spine, ["numbers:square"])
        table = built.to_arrow()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert carried < kept <= peak < 1.5 * carried
    assert pa.total_allocated_bytes() - arrow < 0.3 * carried
    assert table.nbytes > carried


def test_doubled_names(store: FeatureStore) -> None:
    frame = pd.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, 1: 0, "1": 0})
    with pytest.raises(SpineError, match="the column '1' twice"):
        score_of(store, frame)
    frame = frame[["user_id", "event_timestamp"]].set_index(pd.MultiIndex.from_arrays([USERS, USERS], names=["n", "N"]))
    with pytest.raises(SpineError, match="the column both 'n' and 'N'"):
        score_of(store, frame)
    frame = frame.set_axis(pd.Index([1, 2, 3, 4], name="Score"))
    with pytest.raises(SpineError, match="the feature 'score' and the column 'Score' of the spine"):
        score_of(store, frame)


# Parquet files ----------------------------------------------------------------------------------------------------


def test_a_parquet_file_comes_back_with_its_types(store: FeatureStore, tmp_path: Path) -> None:
    columns = arrow_columns()
    for name in ("runs", "string_view", "binary_view", "list_view", "interval", "embedding"):
        del columns[name]  # Parquet has none of them, or not in every version of pyarrow
    pq.write_table(pa.table({"user_id": USERS, "event_timestamp": [T] * 4, **columns}), tmp_path / "spine.parquet")
    written = pq.ParquetFile(tmp_path / "spine.parquet").read()
    kinds = {name: str(written.schema.field(name).type) for name in ("dictionary", "ns", "halffloat")}
    assert kinds == {
        "dictionary": "dictionary<values=string, indices=int32, ordered=0>",
        "ns": "timestamp[ns, tz=Europe/Berlin]",
        "halffloat": "halffloat",
    }
    built = score_of(store, tmp_path / "spine.parquet")
    assert built.to_arrow().select(written.column_names).equals(written)
    assert built.to_arrow()["score"].to_pylist() == SCORES
    built.write(tmp_path / "set.parquet")
    assert pq.ParquetFile(tmp_path / "set.parquet").read().select(written.column_names).equals(written)


def test_a_parquet_file_of_pandas_comes_back_as_pandas_reads_it(store: FeatureStore, tmp_path: Path) -> None:
    columns = ["user_id", "event_timestamp", "Int64", "int8", "boolean", "ordered", "timedelta", "Berlin", "string"]
    frame = pandas_frame()[columns].set_index(["user_id", "int8"])
    frame.to_parquet(tmp_path / "spine.parquet")
    found = score_of(store, tmp_path / "spine.parquet").to_df()
    expected = pd.read_parquet(tmp_path / "spine.parquet")
    pd.testing.assert_frame_equal(found[expected.columns], expected)
    assert (found.index.names, str(found["Int64"].dtype)) == (["user_id", "int8"], "Int64")
    assert found["score"].tolist() == [2, 1, 2, pd.NA]


def test_far_times_of_old_parquet_files(store: FeatureStore, tmp_path: Path) -> None:
    """Spark wrote them as INT96, which pyarrow reads in nanoseconds unless it is told."""
    far = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
    table = pa.table({"user_id": ["u1", "u1"], "event_timestamp": [far, None], "until": [far, T]})
    pq.write_table(table, tmp_path / "spine.parquet", use_deprecated_int96_timestamps=True)
    found = score_of(store, tmp_path / "spine.parquet").to_arrow()
    assert found.select(["event_timestamp", "until", "score"]).to_pydict() == {
        "event_timestamp": [far, None], "until": [far, T], "score": [1, None],
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_of_the_same_name_in_the_current_folder(
    shop: Path, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """DuckDB would look there first; the spine's path is relative to the project in the SQL."""
    spine = shop / f"labels.{ending}"
    frame = pd.DataFrame({"user_id": ["u1"], "event_timestamp": [T]})
    other = pd.DataFrame({"other": [1, 2]})
    for each, path in ((frame, spine), (other, tmp_path / spine.name)):
        each.to_parquet(path) if ending == "parquet" else each.to_csv(path, index=False)
    monkeypatch.chdir(tmp_path)
    assert score_of(store, spine).to_arrow()["score"].to_pylist() == [1]
    assert f"'labels.{ending}'" in store.prepare_training_set(spine, ["users:score"]).sql()


# Features in pandas -----------------------------------------------------------------------------------------------

NULLABLE = {
    "score": "Int8",
    "big": "Int64",
    "size": "UInt64",
    "flag": "boolean",
    "half": "float32",
    "ratio": "float64",
    "seen": "datetime64[us, UTC]",
}


def dtypes_of(built: Any) -> dict[str, str]:
    frame = built.to_df()
    return {name: str(frame[name].dtype) for name in NULLABLE}


@pytest.mark.parametrize("users", sampled([["u1", "u1"], ["u1", "u2"], ["u2", "u2"], ["nobody"], []], 2))
def test_dtypes_of_features_follow_their_types(store: FeatureStore, users: list[str]) -> None:
    spine = pa.table({"user_id": pa.array(users, pa.string()), "event_timestamp": pa.array([T] * len(users))})
    spine = spine.append_column("label", pa.array([1] * len(users), pa.int64()))
    spine = spine.set_column(1, "event_timestamp", spine["event_timestamp"].cast(pa.timestamp("us")))
    features = [f"users:{name}" for name in TYPES if name != "listed"]
    for given in (spine, spine.to_pandas(), pl.from_arrow(spine)):
        built = store.get_historical_features(given, features)
        assert dtypes_of(built) == NULLABLE
    assert str(store.get_historical_features(spine, features).to_df()["label"].dtype) == "Int64"


def test_values_of_features_in_pandas(store: FeatureStore) -> None:
    spine = pd.DataFrame({"user_id": ["u1", "u2"], "event_timestamp": [T] * 2})
    features = [f"users:{name}" for name in TYPES if name != "listed"]
    frame = store.get_historical_features(spine, features).to_df()
    assert frame.loc[0, ["big", "size", "flag", "ratio", "word", "price"]].tolist() == [
        BIG, 2**64 - 1, True, 0.1, "a", Decimal("1.50"),
    ]  # fmt: skip
    assert frame.loc[0, "seen"] == pd.Timestamp("2026-03-01 12:00", tz="UTC")
    assert frame.loc[0, "day"] == dt.date(2026, 3, 1)
    assert frame.loc[1, list(TYPES)[1:9]].isna().all()
    assert frame.loc[1, "big"] is pd.NA
    assert np.isnan(frame.loc[1, "ratio"])


def test_dtypes_of_numpy(store: FeatureStore) -> None:
    features = ["users:score", "users:flag", "users:ratio"]
    whole, gaps = (
        store.get_historical_features(pd.DataFrame({"user_id": users, "event_timestamp": [T]}), features)
        for users in (["u1"], ["nobody"])
    )
    assert [str(kind) for kind in whole.to_df("numpy").dtypes[2:]] == ["int8", "bool", "float64"]
    assert [str(kind) for kind in gaps.to_df("numpy").dtypes[2:]] == ["float64", "object", "float64"]
    two = pd.DataFrame({"user_id": ["u1", "u2"], "event_timestamp": [T] * 2})
    built = store.get_historical_features(two, ["users:score", "users:big", "users:size"])
    says = r"above 2\^53 in the columns 'big', 'size': .*; leave out dtypes='numpy', or use to_arrow"
    with pytest.raises(PitJoinError, match=says):
        built.to_df(dtypes="numpy")
    assert store.get_historical_features(two[:1], ["users:big"]).to_df("numpy")["big"].tolist() == [BIG]
    with pytest.raises(PitJoinError, match="unknown dtypes 'arrow'; there are nullable and numpy"):
        built.to_df("arrow")  # type: ignore[arg-type]
    # The spine's own columns are held to the same where they are not pandas'.
    label = pa.table({"user_id": USERS, "event_timestamp": [T] * 4, "label": [BIG, None, 1, 2]})
    assert score_of(store, label).to_df()["label"].tolist() == [BIG, pd.NA, 1, 2]
    with pytest.raises(PitJoinError, match=r"above 2\^53 in the column 'label'"):
        score_of(store, label).to_df("numpy")


def test_integers_in_lists(store: FeatureStore) -> None:
    """Beside a null pandas makes floats of them, whatever the dtype of the column."""
    spine = pd.DataFrame({"user_id": ["u1"], "event_timestamp": [T]})
    built = store.get_historical_features(spine, ["users:listed"])
    with pytest.raises(PitJoinError, match=r"above 2\^53 in the column 'listed': .* floats of them; use to_arrow\(\)"):
        built.to_df()
    assert built.to_polars()["listed"].to_list() == [[1, None, BIG]]


# Keys and times without values ------------------------------------------------------------------------------------


def empty(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in columns.items()})


NO_KEYS: dict[str, tuple[Any, int]] = {
    "pandas, None": (pd.DataFrame({"user_id": pd.Series([None, None], dtype=object), "event_timestamp": [T, T]}), 2),
    "pandas, NaN": (pd.DataFrame({"user_id": [np.nan], "event_timestamp": [T]}), 1),
    "pandas, NA": (pd.DataFrame({"user_id": pd.array([None], dtype="Int8"), "event_timestamp": [T]}), 1),
    "pandas, NaT": (pd.DataFrame({"user_id": pd.to_datetime([None]), "event_timestamp": [T]}), 1),
    "pandas, period": (pd.DataFrame({"user_id": pd.PeriodIndex(["NaT"], freq="D"), "event_timestamp": [T]}), 1),
    "pandas, category": (pd.DataFrame({"user_id": pd.Categorical([None, None]), "event_timestamp": [T, T]}), 2),
    "pandas, an index": (pd.DataFrame({"event_timestamp": [T]}, index=pd.Index([np.nan], name="user_id")), 1),
    "pandas, no time": (pd.DataFrame({"user_id": ["u1"], "event_timestamp": [None]}), 1),
    "pandas, NaN time": (pd.DataFrame({"user_id": ["u1"], "event_timestamp": [np.nan]}), 1),
    "pandas, NaT time": (pd.DataFrame({"user_id": ["u1"], "event_timestamp": [pd.NaT]}), 1),
    "pandas, neither": (pd.DataFrame({"user_id": [None], "event_timestamp": [None]}), 1),
    "pandas, no rows": (empty(user_id=object, event_timestamp="datetime64[ns]"), 0),
    "pandas, no rows of floats": (empty(user_id=float, event_timestamp=float), 0),
    "pandas, columns only": (pd.DataFrame(columns=["user_id", "event_timestamp"]), 0),
    "polars": (pl.DataFrame({"user_id": [None], "event_timestamp": [T]}), 1),
    "polars, of integers": (pl.DataFrame({"user_id": pl.Series([None], dtype=pl.Int64), "event_timestamp": [T]}), 1),
    "polars, no rows": (pl.DataFrame({"user_id": [], "event_timestamp": []}), 0),
    "arrow": (pa.table({"user_id": pa.nulls(2), "event_timestamp": pa.array([T, T])}), 2),
    "arrow, a list": (pa.table({"user_id": pa.nulls(1, pa.list_(pa.int8())), "event_timestamp": pa.array([T])}), 1),
    "arrow, runs": (
        pa.table(
            {"user_id": pa.RunEndEncodedArray.from_arrays([2], pa.nulls(1, pa.int8())), "event_timestamp": [T, T]}
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", sampled(NO_KEYS, 3))
def test_columns_without_values_match_nothing(store: FeatureStore, tmp_path: Path, name: str) -> None:
    spine, rows = NO_KEYS[name]
    spines = [spine]
    if name != "arrow, runs":
        table = pa.Table.from_pandas(spine) if isinstance(spine, pd.DataFrame) else pa.table(spine)
        pq.write_table(table, tmp_path / "spine.parquet")
        spines.append(tmp_path / "spine.parquet")
    for each in spines:
        built = score_of(store, each, provenance=True)
        table = built.to_arrow()
        assert table["users__status"].to_pylist() == ["NULL_KEY"] * rows
        assert table["score"].to_pylist() == [None] * rows
        assert built.coverage[0].statuses["NULL_KEY"] == rows
        with duckdb.connect(str(store._workspace().project.directory / "warehouse.duckdb"), read_only=True) as alone:
            if each is spine:
                alone.register("entity_df", table.select(built.metadata["spine_columns"]))
            found = alone.execute(store.prepare_training_set(each, ["users:score"]).sql().replace('"warehouse".', ""))
            assert [row[-1] for row in found.fetchall()] == [None] * rows
    if isinstance(spine, pd.DataFrame):
        pd.testing.assert_frame_equal(score_of(store, spine).to_df()[spine.columns], spine)


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_without_values_of_two_views(store: FeatureStore, order: int) -> None:
    """Of a column of texts that is a UUID for one view and a text for the other, the type is free."""
    spine = pd.DataFrame({"token": [None, None], "event_timestamp": [T] * 2})
    features = ["tokens:tokens_count", "notes:notes_count"][::order]
    found = store.get_historical_features(spine, features, provenance=True).to_arrow()
    assert found["tokens__status"].to_pylist() == found["notes__status"].to_pylist() == ["NULL_KEY"] * 2


def test_a_missing_value_among_keys_is_a_null_key(store: FeatureStore) -> None:
    numbers = pd.DataFrame({"number": [3, None, 1], "event_timestamp": [T, T, pd.NaT]})
    assert str(numbers["number"].dtype) == "float64"
    built = store.get_historical_features(numbers, ["numbers:square"], provenance=True)
    assert built.to_arrow()["numbers__status"].to_pylist() == ["PRESENT", "NULL_KEY", "NULL_KEY"]
    assert built.to_df()["square"].tolist() == [9, pd.NA, pd.NA]
    texts = pd.DataFrame({"user_id": pd.Series(["u1", np.nan, None, pd.NA], dtype=object), "event_timestamp": [T] * 4})
    built = score_of(store, texts, provenance=True)
    assert built.to_arrow()["users__status"].to_pylist() == ["PRESENT", "NULL_KEY", "NULL_KEY", "NULL_KEY"]


# What DuckDB gets -------------------------------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[pa.Table]:
    """The tables that DuckDB gets; it gets their rows in pieces and not in order, and may read them in any order."""
    found, register = [], DuckDBWarehouse.register

    def shuffled(self: DuckDBWarehouse, name: str, table: pa.Table) -> None:
        found.append(table)
        pieces = table.to_batches(max_chunksize=max(1, len(table) // 7))
        random.Random(3).shuffle(pieces)
        self.execute("set preserve_insertion_order = false; set threads = 8", "settings")
        register(self, name, pa.Table.from_batches(pieces, table.schema))

    monkeypatch.setattr(DuckDBWarehouse, "register", shuffled)
    return found


@pytest.mark.parametrize("kind", sampled(["pandas", "polars", "arrow", "parquet"], 2))
def test_only_what_joins_need_in_any_order(
    store: FeatureStore, tmp_path: Path, registered: list[pa.Table], kind: str
) -> None:
    numbers = np.random.default_rng(1).permutation(300_000)
    table = pa.table({"label": numbers, "event_timestamp": [T] * len(numbers), "number": numbers % 3000})
    spine: Any = table
    if kind == "pandas":
        spine = table.to_pandas()
    elif kind == "polars":
        spine = pl.from_arrow(table)
    elif kind == "parquet":
        spine = tmp_path / "spine.parquet"
        pq.write_table(table, spine)
    found = store.get_historical_features(spine, ["numbers:square"]).to_arrow()
    assert [sorted(given.column_names) for given in registered] == [["_pit_row", "event_timestamp", "number"]]
    assert (found["label"].to_numpy() == numbers).all()
    keys = numbers % 3000
    assert (found["square"].fill_null(-1).to_numpy() == np.where(keys < 2000, keys * keys, -1)).all()


@pytest.mark.parametrize(
    ("paid", "twice"),
    [
        (np.array([1.5, np.nan, -2.0, 3.0], dtype="float16"), [3.0, None, -4.0, 6.0]),
        (pd.Series([None] * 4, dtype=object), [None] * 4),
        (pd.Categorical([1, None, 2, 1]), [2.0, None, 4.0, 2.0]),
        (pd.Series([Decimal("0.5")] * 4), [1.0] * 4),
    ],
    ids=["halves", "nothing", "categories", "decimals"],
)
def test_arguments_of_on_demand_features(
    store: FeatureStore, registered: list[pa.Table], paid: Any, twice: list[float | None]
) -> None:
    spine = pd.DataFrame({"user_id": USERS, "event_timestamp": [T] * 4, "Paid": paid, "other": ["a", 1, None, 2]})
    found = store.get_historical_features(spine, "doubled")
    assert sorted(registered[0].column_names) == ["Paid", "_pit_row", "event_timestamp", "user_id"]
    assert found.features["twice"].to_pylist() == twice
    assert found.features["score"].to_pylist() == SCORES
    pd.testing.assert_frame_equal(found.to_df()[spine.columns], spine)


REFUSED: dict[str, tuple[Any, str]] = {
    "periods": (pd.period_range("2026-01", periods=4, freq="M"), r"DuckDB cannot read the column 'number: ext.*period"),
    "intervals": (pd.interval_range(0, 4), "DuckDB cannot read the column 'number: ext.*interval"),
    "sparse": (pd.arrays.SparseArray([0, 0, 1, 0]), r"Arrow cannot hold .*'number' \(Sparse"),
    "mixed": (pd.Series(["a", 1, None, 2], dtype=object), r"Arrow cannot hold .*'number' \(object"),
    "texts": (["a", "b", "c", "d"], "the key 'number' .* is VARCHAR, and the feature view's is BIGINT"),
    "large numbers": (pd.Series([2**70] * 4, dtype=object), r"Arrow cannot hold .*'number' \(object"),
    "large decimals": (
        pd.array([Decimal(10) ** 45] * 4, dtype=pd.ArrowDtype(pa.decimal256(50, 2))),
        r"DuckDB cannot read the column 'number: decimal256\(50, 2\)'",
    ),
    "lists of halves": (
        pd.array([[np.float16(1.5)]] * 4, dtype=pd.ArrowDtype(pa.list_(pa.float16()))),
        "DuckDB cannot read the column 'number: list<.*halffloat>'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_keys_that_cannot_be_joined(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    values, says = REFUSED[name]
    monkeypatch.setattr(ViewJoins, "begin", lambda joins: pytest.fail("the work has begun"))
    with pytest.raises(SpineError, match=says):
        store.get_historical_features(pd.DataFrame({"number": values, "event_timestamp": [T] * 4}), ["numbers:square"])


def test_equal_spines_have_equal_hashes(store: FeatureStore) -> None:
    """However they lie in memory: in pieces, with other dictionaries, with anything beneath nulls."""
    words = pa.array(["a", None, "b", "a"])
    numbers = pa.array([1, None, 3, 4], pa.int64())
    beneath = pa.Array.from_buffers(
        pa.int64(), 4, [numbers.buffers()[0], pa.py_buffer(np.array([1, 77, 3, 4], dtype="int64"))]
    )
    other = pa.DictionaryArray.from_arrays(pa.array([2, None, 0, 2], pa.int32()), ["b", "unused", "a"])
    plain = {"user_id": pa.array(USERS), "event_timestamp": pa.array([T] * 4)}
    one = pa.table({**plain, "w": words.dictionary_encode(), "n": numbers})
    two = pa.table({**plain, "w": other, "n": beneath})
    pieces = pa.concat_tables([two, two]).slice(4)
    hashes = {score_of(store, each).spine_sha256 for each in (one, two, pieces, pa.concat_tables([one[:1], two[1:]]))}
    assert len(hashes) == 1
    changed = one.set_column(3, "n", pa.array([1, None, 3, 5], pa.int64()))
    typed = one.set_column(3, "n", numbers.cast(pa.int32()))
    for each in (changed, typed, one.take([1, 0, 2, 3])):
        assert score_of(store, each).spine_sha256 not in hashes


# Entity rows ------------------------------------------------------------------------------------------------------

ROWS: dict[str, Callable[[list[Any]], Any]] = {
    "pandas": lambda users: pd.DataFrame({"user_id": users, "other": ["a", 1, None, 2]}),
    "pandas, an index": lambda users: pd.DataFrame({"other": 0}, index=pd.Index(users, name="user_id")),
    "polars": lambda users: pl.DataFrame({"user_id": users}),
    "polars, lazy": lambda users: pl.LazyFrame({"user_id": users}),
    "arrow": lambda users: pa.table({"user_id": users}),
    "record batch": lambda users: pa.record_batch({"user_id": pa.array(users)}),
    "series": lambda users: {"user_id": pd.Series(users)},
    "polars series": lambda users: {"user_id": pl.Series(users)},
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_table_of_entity_rows(store: FeatureStore, kind: str) -> None:
    found = store.get_online_features(["users:score"], ROWS[kind](["u2", "u1", None, "nobody"]), now=T)
    assert found.to_dict() == {"user_id": ["u2", "u1", None, "nobody"], "score": [2, 1, None, None]}
    assert found.statuses["score"] == ["PRESENT", "PRESENT", "NULL_KEY", "NOT_FOUND"]


def test_missing_numbers_of_pandas_in_entity_rows(store: FeatureStore) -> None:
    """They make floats of the others."""
    frame = pd.DataFrame({"number": [3, None, 40]})
    assert frame["number"].dtype == "float64"
    found = store.get_online_features(["numbers:square"], frame, now=T)
    assert found.to_dict() == {"number": [3, None, 40], "square": [9, None, 1600]}
    whole = pd.DataFrame({"number": pd.array([3, None], dtype="Int64")})
    assert store.get_online_features(["numbers:square"], whole, now=T).to_dict()["square"] == [9, None]
    for value in (1.5, float(2**53)):
        with pytest.raises(EntityError, match=r"'number' is of type integer, and 3\.0 is float"):
            store.get_online_features(["numbers:square"], pd.DataFrame({"number": [3, None, value]}), now=T)
    floats = EntityRows(pd.DataFrame({"f": [1.5, None], "t": pd.to_datetime(["2026-03-05", None])}))
    assert floats.columns(["f", "t"]) == {"f": [1.5, None], "t": [pd.Timestamp("2026-03-05"), None]}


@pytest.mark.parametrize("users", sampled([["u1", "u1"], ["u1", "u2"], ["nobody"], []], 2))
def test_dtypes_of_online_features_follow_their_types(store: FeatureStore, users: list[str]) -> None:
    features = [f"users:{name}" for name in TYPES if name != "listed"]
    found = store.get_online_features(features, pd.DataFrame({"user_id": users}, dtype=object), now=T)
    assert dtypes_of(found) == NULLABLE
    frame = found.to_df(include_event_timestamps=True)
    assert list(frame.columns)[: len(TYPES)] == ["user_id", *(name for name in TYPES if name != "listed")]
    assert frame["user_id"].tolist() == users
    assert frame["big__ts"].tolist() == [0 if user == "nobody" else 1772323200 for user in users]
    values = {"u1": [BIG, 0.1], "u2": [None, None], "nobody": [None, None]}
    assert frame[["big", "ratio"]].astype(object).where(frame.notna(), None).to_numpy().tolist() == [
        values[user] for user in users
    ]


def test_numpy_dtypes_of_online_features(store: FeatureStore) -> None:
    def dtypes(users: list[str]) -> list[str]:
        found = store.get_online_features(["users:score", "users:flag"], {"user_id": users}, now=T)
        return [str(kind) for kind in found.to_df(dtypes="numpy").dtypes[1:]]

    assert (dtypes(["u1"]), dtypes(["u1", "nobody"])) == (["int8", "bool"], ["float64", "object"])
    found = store.get_online_features(["users:big"], {"user_id": ["u1", "u2"]}, now=T)
    with pytest.raises(PitJoinError, match=r"above 2\^53 in the column 'big'"):
        found.to_df(dtypes="numpy")


def test_a_table_of_entity_rows_that_lacks_a_key(store: FeatureStore) -> None:
    says = r"the entity rows have no 'user_id'; they need user_id; the requested features have no key 'user'"
    with pytest.raises(EntityError, match=says):
        store.get_online_features(["users:score"], pd.DataFrame({"user": ["u1"]}), now=T)
    with pytest.raises(EntityError, match="or a table in memory"):
        store.get_online_features(["users:score"], ["u1"], now=T)


# Packages that are not installed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_package_that_is_not_installed(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    rows = {"user_id": ["u1"], "event_timestamp": [T]}
    spine: Any = pa.table(rows) if package == "pandas" else pd.DataFrame(rows)
    built = score_of(store, spine)
    online = store.get_online_features(["users:score"], [{"user_id": "u1"}], now=T)
    monkeypatch.setitem(sys.modules, package, None)
    for convert in [built.to_df, online.to_df] if package == "pandas" else [built.to_polars]:
        says = rf"\(\) needs the package {package}; run pip install 'pit-join\[{package}\]'$"
        with pytest.raises(PitJoinError, match=says):
            convert()
    assert score_of(store, spine).to_arrow()["score"].to_pylist() == [1]
    assert (
        built.to_polars()["score"].to_list() == [1] if package == "pandas" else built.to_df()["score"].tolist() == [1]
    )
