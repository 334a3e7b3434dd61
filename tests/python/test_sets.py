"""Training sets built again from their files, and compared: by hand, in spines of every kind, and by the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.dbt import Built
from support.pages import DOCS, follow, steps
from support.projects import Result, make_project, run, view

from pit_join import FeatureStore
from pit_join.errors import PitJoinError, RequestError, SpineError
from pit_join.training.comparison import SetComparison, compare_sets
from pit_join.training.equality import pairs
from pit_join.training.set_file import read_set
from pit_join.training.spine_hash import spine_hash

pytestmark = pytest.mark.dbt

PLANS = "entity: user, join_keys: [user_id], created_timestamp: loaded_at, lag: 1 hour, ttl: 2 days"
COLUMNS = (
    "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}, "
    "{name: loaded_at, data_type: timestamptz}, "
    "{name: n, data_type: double, config: {meta: {pit_join: {default: 7}}}}, {name: word, data_type: varchar}"
)
CLICKS = (
    "entity: user, join_keys: [user_id], "
    "aggregations: [{name: clicks, function: sum, column: price, windows: [1 day, 7 days]}]"
)
PRICES = (
    "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}, "
    "{name: price, data_type: double}"
)
SERVICE = """exposures:
  - name: churn
    type: ml
    owner: {name: o, email: o@example.com}
    depends_on: [ref('plans'), ref('clicks')]
    config: {meta: {pit_join: {features: ["plans:n", "clicks:*", {on_demand: half, arguments: {x: "plans:n"}}]}}}
macros:
  - name: half
    arguments: [{name: x, type: double}]
    config: {meta: {pit_join: {returns: double}}}
"""
HISTORY = """
    (1, '2026-03-01 00:00+00', '2026-03-01 00:30+00', 1.5, 'a'),
    (1, '2026-03-02 00:00+00', '2026-03-02 09:00+00', 2.25, 'b'),
    (2, '2026-03-01 00:00+00', '2026-03-01 00:00+00', null, E'\\x1b[31mred')
"""
EVENTS = "(1, '2026-03-01 10:00+00', 0.1), (1, '2026-03-01 11:00+00', 0.2), (2, '2026-02-27 00:00+00', 4.5)"
AT = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
KEYS = [1, 2, 3, None, 1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(
        tmp_path_factory.mktemp("sets") / "shop",
        {"plans": view(PLANS, COLUMNS), "clicks": view(CLICKS, PRICES)},
        SERVICE,
    )
    (project / "macros").mkdir()
    (project / "macros" / "half.sql").write_text("{% macro half(x) %} {{ x }} / 2 {% endmacro %}")
    change(
        project,
        "create table plans (user_id bigint, event_timestamp timestamptz, loaded_at timestamptz, n double, "
        f"word varchar); insert into plans values {HISTORY}; "
        "create table clicks (user_id bigint, event_timestamp timestamptz, price double); "
        f"insert into clicks values {EVENTS}",
    )
    return project


@pytest.fixture
def shop(built: Path) -> FeatureStore:
    return FeatureStore(built)


def change(project: Path, statement: str) -> None:
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(statement)


def compare(one: Path, other: Path, **options: Any) -> SetComparison:
    return compare_sets(read_set(one), read_set(other), **{"tolerance": 0.0, "examples": 3, **options})


# Built again ------------------------------------------------------------------------------------------------------


def csv(folder: Path) -> Path:
    rows = "1,2026-03-02 12:00:00,007,1e-05,true\n2,2026-03-02 12:00:00,8,,\n,2026-03-02 12:00:00,9,2.5,false\n"
    (folder / "labels.csv").write_text(f"user_id,event_timestamp,code,weight,flag\n{rows}")
    return folder / "labels.csv"


def categories(folder: Path) -> Any:
    frame = pd.DataFrame(
        {"user_id": pd.array(KEYS, "Int64"), "event_timestamp": [AT] * 5, "c": pd.Categorical(list("abcab"))}
    )
    frame["naive"], frame["day"] = pd.Timestamp("2026-03-01 01:02:03.000000004"), [date(2026, 3, 1)] * 5
    return frame.set_index(pd.Index(list("vwxyz"), name="row"))


def dictionaries(folder: Path) -> Any:
    table = pa.table({"user_id": KEYS, "event_timestamp": [AT] * 5})
    words = pa.array(["x", None, "y", "x", "z"]).dictionary_encode()
    pq.write_table(
        table.append_column("w", words.cast(pa.dictionary(pa.int8(), pa.large_string()))), folder / "spine.parquet"
    )
    return folder / "spine.parquet"


def arrow(folder: Path) -> Any:
    return pa.table(
        {
            "user_id": pa.array(KEYS, pa.int32()),
            "event_timestamp": pa.array([AT.replace(tzinfo=None)] * 5, pa.timestamp("s")),
            'odd "name": \x1b[31m, é': pa.array([AT] * 5, pa.timestamp("ms", "Europe/Berlin")),
            "list": pa.array([[1.5, None], None, [], [0.0], [-0.0]]),
            "struct": pa.array([{"a": [1]}, None, {"a": None}, {"a": []}, {"a": [None]}]),
            "price": pa.array([Decimal("1.10"), None, Decimal("2"), Decimal("0"), Decimal("-1")], pa.decimal128(9, 2)),
            "float": [0.0, -0.0, float("nan"), None, float("inf")],
        }
    )


SPINES = {
    "csv": csv,
    "pandas": categories,
    "parquet": dictionaries,
    "polars": lambda folder: pl.DataFrame({"user_id": KEYS, "event_timestamp": [AT] * 5, "w": list("abcde")}),
    "arrow": arrow,
    "empty": lambda folder: pa.table({"user_id": [1], "event_timestamp": [AT]}).slice(1),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("spine", SPINES)
def test_the_unchanged_project_builds_an_equal_set(spine: str, ending: str, shop: FeatureStore, tmp_path: Path) -> None:
    one, other = tmp_path / f"one.{ending}", tmp_path / f"other.{ending}"
    shop.get_historical_features(SPINES[spine](tmp_path), "churn", provenance=True).write(one)
    shop.rebuild_training_set(one).write(other)
    assert spine_hash(read_set(other).table) == spine_hash(read_set(one).table)
    assert read_set(other).table.schema.equals(read_set(one).table.schema)
    found = compare(one, other)
    assert (found.found, found.moved, found.compared, found.notes) == (False, False, 8, ())
    if spine == "pandas" and ending == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(other), pd.read_parquet(one))


def test_all_options_are_those_of_the_file(shop: FeatureStore, tmp_path: Path) -> None:
    spine = pa.table({"who": [1, 2], "friend": [2, 3], "at": [AT, AT + timedelta(days=1)]})
    options: dict[str, Any] = {
        "roles": ["plans(user_id=who)", "friend=plans(user_id=friend)", "clicks(user_id=who)"],
        "event_timestamp": "at", "gap": "6 hours", "full_feature_names": True, "provenance": True, "defaults": False,
        "window_plan": "range",
    }  # fmt: skip
    features = ["plans:*", "friend:n", "clicks:clicks_7d"]
    first = shop.get_historical_features(spine, features, **options)
    first.write(tmp_path / "one.parquet")
    again = shop.rebuild_training_set(tmp_path / "one.parquet")
    assert again.to_arrow().equals(first.to_arrow())
    assert b"pit_join" not in (again.to_arrow().schema.metadata or {}), "it would be that of another set"
    unlike = {"spine", "sql", "coverage"}  # a table in memory is neither a path nor in the SQL
    assert {k: v for k, v in again.metadata.items() if k not in unlike} == {
        k: v for k, v in first.metadata.items() if k not in unlike
    }


def edited(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """A file whose metadata somebody has changed."""
    table = pq.read_table(path)
    notes = json.loads(table.schema.metadata[b"pit_join"])
    edit(notes)
    pq.write_table(table.replace_schema_metadata({"pit_join": json.dumps(notes)}), path)
    return path


@pytest.mark.parametrize(
    ("edit", "error", "says"),
    [
        (lambda m: m["references"][0].update(view="/etc/passwd"), RequestError, "unknown feature view '/etc/passwd'"),
        (
            lambda m: m["references"][0].update(view="plans; drop table x"),
            RequestError,
            "feature view 'plans; d",
        ),
        (lambda m: m["references"][0].update(features=["gone"]), RequestError, "no feature 'gone'"),
        (lambda m: m["references"][2].update(on_demand="x; drop"), RequestError, "there is no macro 'x; drop'"),
        (lambda m: m.update(spine_sha256="0"), SpineError, "is not the one that the set was built for"),
        (lambda m: m.update(event_timestamp="at"), SpineError, "has no column 'at'"),
        (lambda m: m.update(gap="soon"), PitJoinError, "cannot read the duration 'soon'"),
        (lambda m: m.update(window_plan="x"), PitJoinError, "unknown window plan 'x'"),
    ],
)
def test_metadata_that_the_project_does_not_fit(
    edit: Callable[[dict[str, Any]], Any], error: type[PitJoinError], says: str, shop: FeatureStore, tmp_path: Path
) -> None:
    shop.get_historical_features(csv(tmp_path), "churn").write(tmp_path / "set.parquet")
    with pytest.raises(error, match=re.escape(says)) as raised:
        shop.rebuild_training_set(edited(tmp_path / "set.parquet", edit))
    assert "set.parquet" in str(raised.value)


def test_what_the_file_says_of_types_and_sql_has_no_effect(shop: FeatureStore, tmp_path: Path) -> None:
    first = shop.get_historical_features(csv(tmp_path), "churn")
    first.write(tmp_path / "set.parquet")

    def plant(metadata: dict[str, Any]) -> None:
        metadata["references"][2].update(types={"x": "error('t')"}, returns="error('r')", default="error('d')")
        metadata["expressions"] = {"half": "error('e')"}
        metadata.update(sql="select error('s')", spine="/etc/passwd")

    again = shop.rebuild_training_set(edited(tmp_path / "set.parquet", plant))
    assert again.features.equals(first.features)


# Compared ---------------------------------------------------------------------------------------------------------


def test_changes_of_a_project(tmp_path: Path) -> None:
    """Rows that came late are told from another ttl, another default, another SQL and another gap."""
    project = make_project(tmp_path / "shop", {"plans": view(PLANS, COLUMNS)})
    change(
        project,
        "create table plans (user_id bigint, event_timestamp timestamptz, loaded_at timestamptz, n double, "
        f"word varchar); insert into plans values {HISTORY}",
    )
    (project / "models" / "stg_plans.sql").write_text("select 1 as one")
    (project / "models" / "plans.sql").write_text("select * from {{ ref('stg_plans') }}")
    store = FeatureStore(project)
    one, late, other = (tmp_path / f"{name}.parquet" for name in ("one", "late", "other"))
    store.get_historical_features(csv(tmp_path), ["plans:*"], provenance=True).write(one)
    change(project, "insert into plans values (1, '2026-03-02 06:00+00', '2026-03-02 07:00+00', 4.5, null)")
    change(project, "insert into plans values (2, '2026-03-02 06:00+00', '2026-03-02 07:00+00', 8, 'new')")
    store.rebuild_training_set(one).write(late)
    found = compare(one, late)
    assert (found.found, found.changes) == (True, ())
    columns = {each.column: each for each in found.columns}
    assert columns["n"].rows == columns["n"].changed == columns["n"].newer == 2
    assert (columns["n"].absolute, columns["n"].relative) == (2.25, 0.5)
    assert (columns["word"].appeared, columns["word"].vanished, columns["word"].changed) == (0, 1, 1)
    unexplained = "no option, setting or SQL has changed: rows came late, or were restated, or a file was edited after"
    assert {each.why for each in found.columns} == {(f"{unexplained} it was built",)}
    assert [each.values for each in columns["n"].examples] == [(2.25, 4.5), (7.0, 8.0)]
    assert columns["n"].examples[0].keys["code"] == "007"

    models = project / "models" / "models.yml"
    models.write_text(models.read_text().replace("ttl: 2 days", "ttl: 1 hour").replace("default: 7", "default: 9"))
    options: dict[str, Any] = {"provenance": True, "gap": "1 minute"}
    store.get_historical_features(csv(tmp_path), ["plans:*"], **options).write(other)
    found = compare(late, other)
    assert [(change.kind, change.text) for change in found.changes] == [
        ("options", "gap: none, now 1 minute"),
        ("definition", "plans: ttl: 2 days, now 1 hour"),
        ("definition", "plans: default of n: 7, now 9"),
    ]
    columns = {each.column: each for each in found.columns}
    assert "plans: default of n: 7, now 9" in columns["n"].why
    assert "plans: default of n: 7, now 9" not in columns["word"].why
    assert "plans: ttl: 2 days, now 1 hour" in columns["plans__status"].why

    (project / "models" / "stg_plans.sql").write_text("select 2 as one")
    store.rebuild_training_set(other).write(late)
    found = compare(other, late)
    assert [(change.kind, change.text) for change in found.changes] == [
        ("model", "the model stg_plans has other SQL or settings now"),
    ]
    assert (found.columns, found.found) == ((), True)

    (project / "seeds" / "words.csv").write_text("word\na\n")
    (project / "models" / "stg_plans.sql").write_text("select * from {{ ref('words') }}")
    store.rebuild_training_set(other).write(one)
    (project / "seeds" / "words.csv").write_text("word\na\nb\n")
    store.rebuild_training_set(other).write(late)
    assert [change.text for change in compare(one, late).changes] == ["the seed words has other rows or settings now"]


def rows(path: Path, table: pa.Table, spine: tuple[str, ...] = ("k",), **said: Any) -> Path:
    """A file with metadata of its own, made without a project."""
    from test_set_file import METADATA, write

    features = [name for name in table.column_names if name not in spine]
    metadata = {**METADATA, "features": features, "spine_columns": spine, "statistics": {}, **said}
    return write(path, metadata, table)


def test_rows_are_matched_by_the_spine(tmp_path: Path) -> None:
    one = rows(
        tmp_path / "one.parquet", pa.table({"k": [1, 1, 2, None, 5], "x": [1.0, 2.0, 3.0, 4.0, 5.0], "old": [0] * 5})
    )
    table = pa.table(
        {"new": ["a"] * 6, "x": [4.0, 9.0, 2.5, 1.0, 7.0, 8.0], "k": pa.array([None, 2, 1, 1, 1, 6], pa.int32())}
    )
    found = compare(one, rows(tmp_path / "other.parquet", table), examples=10)
    assert (found.rows, found.matched, found.moved) == ((5, 6), 4, True)
    assert [[(each.row, each.keys) for each in side] for side in found.alone] == [
        [(5, {"k": 5})], [(5, {"k": 1}), (6, {"k": 6})],
    ]  # fmt: skip
    assert "keys" not in json.dumps(found.as_json())
    shown = run("diff", *map(str, found.files), "--show-keys").out
    assert shown.startswith(f"{found.files[0]}: 5 rows, 1 of them only here: row 5 (k=5)\n")
    assert found.only == (("old",), ("new",))
    (x,) = found.columns
    assert [(each.rows, each.values) for each in x.examples] == [
        ((1, 3), (1.0, 2.5)), ((2, 4), (2.0, 1.0)), ((3, 2), (3.0, 9.0)),
    ]  # fmt: skip
    assert compare(one, one).found is False


@pytest.mark.parametrize(
    ("one", "other", "differ", "types"),
    [
        (pa.array([0.0, float("nan"), None]), pa.array([-0.0, float("nan"), None]), 0, False),
        (pa.array([1, 2, None]), pa.array([1.0, 2.5, None]), 1, True),
        (pa.array([1, 2, 3], pa.int32()), pa.array([1, 2, 3]), 0, True),
        (pa.array(["a", "b", None]), pa.array(["a", "c", None]).dictionary_encode(), 1, False),
        (pa.array(["a", "b", None]), pa.array(["a", "b", None], pa.string_view()), 0, False),
        (pa.array(["1", "2", None]), pa.array([1, 2, None]), 2, True),
        (pa.array([AT] * 3, pa.timestamp("us", "UTC")), pa.array([AT] * 3, pa.timestamp("ns", "Asia/Tokyo")), 0, True),
        (pa.array([AT] * 3, pa.timestamp("us", "UTC")), pa.array([AT] * 3, pa.timestamp("us")), 3, True),
        (pa.array([[1.0, None], [], None]), pa.array([[1.0, None], None, None]), 1, False),
        (pa.array([{"a": 1}, {"a": 2}, None]), pa.array([{"a": 1}, {"a": 3}, None]), 1, False),
        (pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
         pa.array([[("a", 2)], [], None], pa.map_(pa.string(), pa.int64())), 1, False),
        (pa.array([Decimal("1.10"), None, None]), pa.array([Decimal("1.1"), None, Decimal("0")]), 1, True),
        (pa.nulls(3), pa.array([1, None, 2]), 2, True),
        (pa.array([b"a" * 16, None, None], pa.uuid()), pa.array([b"a" * 16, None, b"c" * 16], pa.uuid()), 1, False),
        (pa.array([(1, 2, 3), None, (1, 1, 1)], pa.month_day_nano_interval()),
         pa.array([(1, 2, 4), None, (1, 1, 1)], pa.month_day_nano_interval()), 1, False),
        (pa.array([2**62, -(2**62), None], pa.timestamp("us", "UTC")),
         pa.array([2**62, -(2**62) + 1, None], pa.timestamp("us", "UTC")), 1, False),
    ],
)  # fmt: skip
def test_values_of_every_kind(one: Any, other: Any, differ: int, types: bool, tmp_path: Path) -> None:
    tables = [pa.table({"k": [1, 2, 3], "v": column}) for column in (one, other)]
    files = [rows(tmp_path / f"{number}.arrow", table) for number, table in enumerate(tables)]
    found = compare(*files)
    assert sum(each.rows for each in found.columns) == differ
    assert any(each.types for each in found.columns) == types
    assert found.found == bool(differ or types)
    assert run("diff", *map(str, files), "--json", "--show-keys").status == run("diff", *map(str, files)).status
    # As a spine: what is equal as a value is equal as a key.
    first, second = pairs(*(table.select(["v"]) for table in tables))
    assert len(first) == len(second) >= 3 - differ


def test_tolerance(tmp_path: Path) -> None:
    files = [rows(tmp_path / f"{x}.parquet", pa.table({"k": [1], "x": [x]})) for x in (1.0, 1.0 + 1e-12)]
    assert compare(*files).found
    assert not compare(*files, tolerance=1e-9).found
    for wrong in (-1.0, float("nan"), float("inf"), "1", None):
        with pytest.raises(PitJoinError, match="the tolerance is a number from 0 on"):
            compare(*files, tolerance=wrong)


def test_pairs_are_those_of_a_loop() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        sides = [
            pa.table(
                {
                    "a": pa.array([*random.integers(0, 4, n).tolist(), None]),
                    "b": random.integers(0, 2, n + 1).astype(float),
                }
            )
            for n in random.integers(0, 12, 2)
        ]
        left = sides[1].to_pylist()
        expected = []
        for number, row in enumerate(sides[0].to_pylist()):
            if row in left:
                expected.append((number, left.index(row)))
                left[left.index(row)] = None
        assert list(zip(*(side.to_pylist() for side in pairs(*sides)), strict=True)) == expected


def test_files_without_metadata(tmp_path: Path) -> None:
    table = pa.table({"k": [1, 2], "x": [1, 2]})
    one = rows(tmp_path / "one.parquet", table)
    pd.read_parquet(one).assign(x=[1, 3]).to_parquet(tmp_path / "other.parquet")
    found = compare(one, tmp_path / "other.parquet")
    assert [(each.rows, each.why) for each in found.columns] == [
        (1, ("one of the files does not say how it was built",))
    ]
    assert any("other.parquet has no metadata" in note for note in found.notes)
    with pytest.raises(PitJoinError, match=r"neither .* has metadata of pit-join"):
        compare(tmp_path / "other.parquet", tmp_path / "other.parquet")
    with pytest.raises(PitJoinError, match="have no column of a spine in common"):
        compare(one, rows(tmp_path / "else.parquet", pa.table({"j": [1]}), spine=("j",)))


def test_files_of_an_older_release(tmp_path: Path) -> None:
    """They do not say what the project declared, and only their SQL can differ."""
    files = [rows(tmp_path / f"{x}.parquet", pa.table({"k": [1], "x": [x]}), sql=f"select {x % 2}") for x in (1, 2, 3)]
    found = compare(files[0], files[1])
    assert [(change.kind, change.text) for change in found.changes] == [
        ("definition", "the SQL of the set has changed")
    ]
    assert found.columns[0].why == ("the SQL of the set has changed",)
    found = compare(files[0], files[2])
    assert found.changes == ()
    assert found.columns[0].why == ("a file of an older pit-join does not say what the project declared",)
    assert len(found.notes) == 2
    assert all("older pit-join" in note for note in found.notes)


# The commands -----------------------------------------------------------------------------------------------------


def command(project: Path, *arguments: object) -> Result:
    return run("--project-dir", str(project), *map(str, arguments))


def test_the_commands(built: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    asked = ("build-training-set", "--spine", csv(tmp_path), "--features", "plans:*,clicks:*")
    assert command(built, *asked, "--output", one).status == 0
    assert command(built, "build-training-set", "--from-metadata", one, "--output", other).status == 0
    done = run("diff", str(one), str(other))
    assert (done.status, done.out.splitlines()[-1]) == (0, "no value differs in 3 rows and 4 columns")
    done = run("describe", str(one))
    assert done.status == 0, done.err
    assert "asked for: plans:*, clicks:*" in done.out
    assert re.search(r"n +double +0 +5.41667", done.out)
    assert run("describe", str(one), "--sql").out.strip() == read_set(one).described.sql.strip()
    assert json.loads(run("describe", str(one), "--json").out)["rows"] == 3
    assert command(built, *asked, "--gap", "40 hours", "--output", other).status == 0
    done = run("diff", str(one), str(other))
    assert done.status == 1
    assert "options: gap: none, now 40 hours" in done.out
    assert "\x1b" not in done.out
    assert "\\x1b[31mred" in done.out
    assert "007" not in done.out, "keys are shown only if they are asked for"
    assert "code=007" in run("diff", str(one), str(other), "--show-keys").out
    for show in ((), ("--show-keys",)):
        out = run("diff", str(one), str(other), "--json", *show).out
        assert json.loads(out)["found"] is True
        assert ("007" in out) == bool(show)


@pytest.mark.parametrize(
    "given",
    [
        ("--spine", "labels"), ("--features", "plans:n"), ("--service", "churn"), ("--gap", "1 day"), ("--provenance",),
        ("--no-defaults",), ("--role", "a=plans"), ("--event-timestamp", "at"), ("--full-feature-names",),
        ("--window-plan", "range"), ("--sql",), ("--explain-plan",),
    ],
    ids=lambda given: given[0],
)  # fmt: skip
def test_what_the_file_says_is_not_said_again(given: tuple[str, ...], tmp_path: Path) -> None:
    done = run("build-training-set", "--from-metadata", "a.parquet", *given, "--output", str(tmp_path / "b.parquet"))
    says = f"Error: --from-metadata and {given[0]} exclude each other; give one of them"
    assert (done.status, done.err.splitlines()[-1]) == (2, says)


def test_bad_input_of_the_commands(built: Path, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("a,b\n1,2\n")
    wild = rows(tmp_path / "wild.parquet", pa.table({"k": [1], "x\x1b[31m\n": ["\x1b[2J"]}), sql="\x1b[2Jselect 1\n, 2")
    for arguments in (("describe", "set.csv"), ("describe", "none"), ("diff", "set.csv", wild), ("diff", wild, "none")):
        done = run(*map(str, arguments), cwd=tmp_path)
        assert (done.status, done.out, done.err.count("\n")) == (2, "", 1), done.err
    done = command(built, "build-training-set", "--features", "plans:n", "--output", tmp_path / "x.parquet")
    assert done.err.splitlines()[-1] == "Error: give --spine, or --from-metadata to build the set of a file again"
    for arguments in (("describe", wild), ("describe", wild, "--sql"), ("diff", wild, wild)):
        done = run(*map(str, arguments))
        assert (done.status, "\x1b" in done.out) == (0, False)
    edit = rows(tmp_path / "name.parquet", pa.table({"k": [1], "x": [1]}), references=[
        {"view": "\x1b[2J", "as": "plans", "join_keys": {}, "features": ["x"]},
    ])  # fmt: skip
    spine = read_set(edit).spine
    edited(edit, lambda metadata: metadata.update(spine_sha256=spine_hash(spine)))
    done = command(built, "build-training-set", "--from-metadata", edit, "--output", tmp_path / "x.parquet")
    assert (done.status, "\x1b" in done.err) == (2, False)
    assert "cannot be built again: unknown feature view '\\x1b[2J'" in done.err


@pytest.mark.rest
def test_the_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "training-sets.md"), copy_of(demo).directory) == []
