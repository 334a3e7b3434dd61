"""Explanations of what is rare: keys of other types, far times, nulls, gaps, late events, changed declarations."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from support.projects import make_project, run, view

from pit_join import FeatureStore
from pit_join.errors import EntityError, PitJoinError
from pit_join.training.explanation import OnlineValue, Verdict

pytestmark = pytest.mark.dbt

DEFAULT = "config: {meta: {pit_join: {default: 7}}}"
WORDS = (
    "{name: word, data_type: varchar}, {name: event_timestamp, data_type: timestamptz}, "
    "{name: until, data_type: timestamptz}, "
    f"{{name: n, data_type: integer, {DEFAULT}}}, {{name: ratio, data_type: double}}"
)
SHOPS = f"{{name: code, data_type: uuid}}, {{name: size, data_type: integer, {DEFAULT}}}"
VISITS = (
    "{name: place, data_type: 'decimal(9,2)'}, {name: event_timestamp, data_type: timestamp}, "
    "{name: known, data_type: timestamp}, {name: id, data_type: integer}, {name: seen, data_type: timestamptz}"
)
WINDOWS = (
    "entity: place, join_keys: [place], created_timestamp: known, event_key: [id], aggregations: ["
    "{name: visits, function: count, windows: [1 hour]}, {name: seen, function: last, column: seen, windows: [1 day]}]"
)
SERVICES = """
exposures:
  - name: sizes
    type: ml
    owner: {name: us, email: us@example.com}
    depends_on: [ref('words'), ref('shops'), ref('visits')]
    config: {meta: {pit_join: {features: [
      {on_demand: days_until, as: days, arguments: {later: "until_of_other:until", moment: event_timestamp}},
      {on_demand: product_of, as: product, arguments: {a: "shops:size", b: "words:ratio"}},
      {on_demand: product_of, as: own, arguments: {a: a, b: "visits:visits_1h"}},
      {view: words, as: until_of_other, join_keys: {word: other}, features: [until]}, "words:n"]}}}
  - name: others
    type: ml
    owner: {name: us, email: us@example.com}
    depends_on: [ref('words')]
    config: {meta: {pit_join: {features: [
      {on_demand: product_of, as: own, arguments: {a: a, b: b}}, "words:n"]}}}
"""
MACROS = """
{% macro days_until(later, moment) -%}date_diff('day', {{ moment }}, {{ later }}){%- endmacro %}
{% macro product_of(a, b) -%}{{ a }}
* {{ b }} -- '\x1b[31m'{%- endmacro %}
"""
DECLARED = """
macros:
  - name: days_until
    arguments: [{name: later, type: timestamptz}, {name: moment, type: timestamptz}]
    config: {meta: {pit_join: {returns: bigint}}}
  - name: product_of
    arguments: [{name: a, type: double}, {name: b, type: double}]
    config: {meta: {pit_join: {returns: double, default: 0}}}
"""
MARCH_2 = datetime(2026, 3, 2, tzinfo=timezone.utc)
CODE = "6f8b1c1e-0000-4000-8000-0000000000ab"
TABLES = f"""
    create table words (word varchar, event_timestamp timestamptz, until timestamptz, n integer, ratio double);
    insert into words values
        ('secret', '2026-03-01 00:00+00', '20000-01-01 00:00+00', null, -1.5),
        ('secret', '2026-03-02 00:00+00', '2026-04-01 00:00+00', 10, 22.25),
        ('secret', null, null, 100, null), ('secret', 'infinity', null, 101, null), ('secret', null, null, 102, null),
        ('empty', '2026-03-01 00:00+00', null, null, null);
    create table shops (code uuid, size integer); insert into shops values ('{CODE}', null);
    create table visits (place decimal(9,2), event_timestamp timestamp, known timestamp, id integer, seen timestamptz);
    insert into visits values
        (0.5, '2026-03-01 10:00', '2026-03-01 10:00', 1, '20000-01-01 00:00+00'),
        (0.5, '2026-03-01 10:10', '2026-03-01 11:10', 2, null),
        (0.5, '2026-03-01 10:11', '2026-03-01 11:10', 3, null),
        (0.5, '2026-03-01 10:12', '2026-03-01 10:13', 5, null),
        (0.5, null, '2026-03-01 10:14', 5, null),
        (0.5, '2026-03-01 11:30', '2026-03-01 11:30', 4, null);
"""


def project_of(folder: Path) -> FeatureStore:
    views = {
        "words": view("entity: word, join_keys: [word]", WORDS),
        "shops": view("entity: shop, join_keys: [code], static: true", SHOPS, ""),
        "visits": view(WINDOWS, VISITS),
    }
    project = make_project(folder, views, SERVICES)
    (project / "macros").mkdir()
    (project / "macros" / "macros.sql").write_text(MACROS)
    (project / "macros" / "macros.yml").write_text(DECLARED)
    change(project, TABLES)
    return FeatureStore(project)


def change(project: Path, statement: str) -> None:
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(statement)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return project_of(tmp_path_factory.mktemp("details") / "shop")


def command(shop: FeatureStore, feature: str, at: str, *options: str) -> str:
    folder = str(Path(shop.online_store).parents[1])
    done = run("--project-dir", folder, "explain", "--feature", feature, "--at", at, *options)
    assert done.status == 0, done.err
    return done.out


@pytest.mark.parametrize(
    ("feature", "keys", "says"),
    [
        ("words:n", {"word": 5}, "the key 'word' is of type VARCHAR, and 5 is not"),
        ("words:n", {"word": ["a"]}, "the key 'word' is of type VARCHAR, and ['a'] is not"),
        ("words:n", {"word": pa.table({"a\nb": [1]})}, "the key 'word' is of type VARCHAR, and pyarrow.Table a b:"),
        ("shops", {"code": "x"}, "the key 'code' is of type UUID, and 'x' is not"),
        ("visits", {"place": Decimal("1e40")}, "the key 'place' is of type DECIMAL(9,2), and Decimal('1E+40') is not"),
        ("words:n", {"word": b"x" * 1000}, f"the key 'word' is of type VARCHAR, and b'{'x' * 95}... is not"),
        ("visits", {"place": "0.501"}, "the key 'place' is of type DECIMAL(9,2), and '0.501' is not"),
        ("visits", {"place": datetime(2026, 3, 1)}, "the key 'place' is of type DECIMAL(9,2), and datetime.datetime("),
    ],
)  # fmt: skip
def test_a_key_of_another_type_is_named(shop: FeatureStore, feature: str, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(EntityError) as caught:
        shop.explain(feature, keys, "2026-03-02")
    assert str(caught.value).startswith(says)
    assert str(caught.value).endswith("; give a value of that type, or its text")
    assert "secret" not in str(caught.value).removeprefix(says)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("feature", "keys", "rows"),
    [
        ("shops", {"code": UUID(CODE)}, 1),
        ("shops", {"code": None}, 0),
        ("shops", {"code": np.datetime64("NaT")}, 0),
        ("visits", {"place": 0.5}, 6),
        ("visits", {"place": Decimal("0.5")}, 6),
        ("visits", {"place": np.float32(0.5)}, 6),
        ("visits", {"place": 2**40}, 0),
        ("words", {"word": "secret"}, 5),
    ],
)
def test_keys_that_equal_stored_ones(shop: FeatureStore, feature: str, keys: dict[str, Any], rows: int) -> None:
    assert shop.explain(feature, keys, "2026-03-02", online=False).counts["rows"] == rows


def test_far_times_of_a_zone_end_with_z(shop: FeatureStore) -> None:
    found = shop.explain("words:until", {"word": "secret"}, "2026-03-01 12:00", online=False).as_json()
    assert found["values"] == {"until": "20000-01-01T00:00:00.000000Z"}
    assert found["rows"][0]["values"] == ["20000-01-01T00:00:00.000000Z"]
    assert found["types"] == {"word": "string", "until": "timestamp[us, UTC]"}
    for feature in ("words:until", "visits:seen_1d", "days"):
        keys = {"words:until": "word=secret", "visits:seen_1d": "place=0.5", "days": "other=secret"}[feature]
        out = command(shop, feature, "2026-03-01 12:00", "--entity", keys)
        assert "20000-01-01T00:00:00.000000Z" in out
        assert "20000-01-01T00:00:00.000000Z" in command(shop, feature, "2026-03-01 12:00", "--entity", keys, "--json")
    seen = shop.explain("visits:seen_1d", {"place": 0.5}, "2026-03-01 12:00", online=False).as_json()["windows"][0]
    assert (seen["type"], seen["rows"][0]["values"]) == ("timestamp[us, UTC]", ["20000-01-01T00:00:00.000000Z"])


def test_each_feature_has_a_status(shop: FeatureStore) -> None:
    found = shop.explain("words", {"word": "secret"}, "2026-03-01", online=False)
    assert found.statuses == {"until": "PRESENT", "n": "NULL_VALUE", "ratio": "PRESENT"}
    assert found.as_json()["statuses"]["n"] == "NULL_VALUE"
    out = command(shop, "words", "2026-03-01", "--entity", "word=secret")
    assert "n = 7, the declared default (NULL_VALUE, 0.0 s old)" in out
    assert "ratio = -1.5 (PRESENT, 0.0 s old)" in out
    assert set(shop.explain("words", {"word": "x"}, "2026-03-01", online=False).statuses.values()) == {"NOT_FOUND"}
    windows = shop.explain("visits", {"place": 0.5}, "2026-03-01 10:30", online=False)
    assert windows.statuses == {"visits_1h": "PRESENT", "seen_1d": "PRESENT"}
    later = shop.explain("visits", {"place": 0.5}, "2026-03-03", online=False)
    assert (later.values["visits_1h"], later.statuses) == (0, {"visits_1h": "PRESENT", "seen_1d": "NULL_VALUE"})


def test_with_a_gap_the_time_asked_is_earlier(shop: FeatureStore) -> None:
    found = shop.explain("words:n", {"word": "secret"}, "2026-03-02", gap="1 hour", online=False)
    assert [row.verdict.value for row in found.rows[:2]] == ["chosen", "later than the time asked"]
    out = command(shop, "words:n", "2026-03-02", "--entity", "word=secret", "--gap", "1 hour")
    assert "gap: asked 1 hour before T; a row known exactly at the time asked counts" in out
    assert "T = 2026-03-02 00:00:00 UTC" in out
    assert "--- 2026-03-01 23:00:00 ---" in out


def test_an_event_that_is_known_only_after_its_window(shop: FeatureStore) -> None:
    (window,) = shop.explain("visits:visits_1h", {"place": 0.5}, "2026-03-01 11:25", online=False).windows
    left, missed = "has left the window", "known too late"
    assert [row.verdict.value for row in window.rows] == [
        left, missed, left, left, "later than the time asked", "no time",
    ]  # fmt: skip
    assert missed in command(shop, "visits:visits_1h", "2026-03-01 11:25", "--entity", "place=0.5")


def test_a_version_without_a_time_takes_no_place(shop: FeatureStore) -> None:
    (window,) = shop.explain("visits:visits_1h", {"place": 0.5}, "2026-03-01 10:30", online=False).windows
    assert (window.rows[3].verdict, window.events) == (Verdict.COUNTED, 2)


def test_around_0_still_counts_the_events(shop: FeatureStore) -> None:
    (window,) = shop.explain("visits:visits_1h", {"place": 0.5}, "2026-03-01 10:30", around=0, online=False).windows
    assert (window.events, window.rows) == (2, ())


def test_the_table(shop: FeatureStore) -> None:
    """Numbers are aligned right, and what is hidden is counted in its place."""
    asked = "2026-03-01 12:00", "--entity", "word=secret", "--around"
    out = command(shop, "words", *asked, "1")
    assert [re.sub("  +", "  ", line) for line in out.splitlines()[5:11]] == [
        "=>  2026-03-01 00:00:00  2026-03-01 00:00:00  20000-01-01T00:00:00.000000Z  -  -1.5  chosen",
        "  --- 2026-03-01 12:00:00 ---",
        "  2026-03-02 00:00:00  2026-03-02 00:00:00  2026-04-01T00:00:00Z  10  22.25  later than the time asked",
        "  -  -  -  100  -  no time",
        "  ... 2 more, no time",
        "",
    ]
    assert "    -   -1.5  chosen\n" in out
    assert "  100      -  no time\n" in out
    lines = command(shop, "words:n", *asked, "0").splitlines()
    hidden = ["--- 2026-03-01 12:00:00 ---", "... 1 more", "... 3 more, no time", ""]
    assert list(map(str.strip, lines[6:10])) == hidden


def test_an_on_demand_feature(shop: FeatureStore) -> None:
    found = shop.explain("product", {"code": CODE, "word": "secret"}, "2026-03-02")
    assert (found.view, found.values, found.statuses) == ("sizes", {"product": 155.75}, {"product": "PRESENT"})
    assert found.keys == {"code": CODE, "word": "secret"}
    assert [(each.name, each.source, each.value, each.status, each.event) for each in found.arguments] == [
        ("a", "shops:size", 7, "NULL_VALUE", None),
        ("b", "words:ratio", 22.25, "PRESENT", int(MARCH_2.timestamp() * 1e6)),
    ]
    spine = pa.table(
        {"code": [CODE], "word": ["secret"], "event_timestamp": [datetime(2026, 3, 2, tzinfo=timezone.utc)]}
    )
    item = {"on_demand": "product_of", "as": "product", "arguments": {"a": "shops:size", "b": "words:ratio"}}
    assert shop.get_historical_features(spine, [item, "words:n"]).to_arrow()["product"].to_pylist() == [155.75]
    nothing = shop.explain("product", {"code": CODE, "word": "empty"}, "2026-03-02")
    assert (nothing.values, nothing.statuses, nothing.defaulted) == (
        {"product": 0.0}, {"product": "PRESENT"}, ("product",),
    )  # fmt: skip


def test_an_on_demand_feature_of_a_role_at_the_time_asked(shop: FeatureStore) -> None:
    asked = ("days", {"other": "secret"}, "2026-03-02")
    assert shop.explain(*asked).values == {"days": 30}
    earlier = shop.explain(*asked, gap="1 hour")
    assert earlier.arguments[0].event == int(MARCH_2.timestamp() * 1e6) - 86_400_000_000
    assert (earlier.arguments[1].source, earlier.arguments[1].status) == ("event_timestamp", None)
    for moment in ("2026-03-31 12:00", np.datetime64("2026-03-31"), np.datetime64("2026-03-31T12", "h")):
        given = shop.explain("days", {"other": "secret", "event_timestamp": moment}, "2026-03-02")
        assert given.values == {"days": 1}


def test_an_on_demand_feature_on_the_command_line(shop: FeatureStore) -> None:
    out = command(shop, "sizes:own", "2026-03-01 10:30", "--entity", "a=2.5", "--entity", "place=0.5")
    assert "\x1b" not in out
    assert out.splitlines()[:3] == ["sizes place=0.50 T = 2026-03-01 10:30:00 UTC", "a", "* b -- '\\x1b[31m'"]
    assert re.search("a +a +- +- +2.5 +as given\n", out)
    assert re.search("b +visits:visits_1h +2026-03-01 10:12:00 +- +2 +PRESENT\n", out)
    assert out.endswith("own = 5.0 (PRESENT)\n")


@pytest.mark.parametrize(
    ("feature", "keys", "says"),
    [
        ("own", {}, "the services others, sizes have an on-demand feature 'own'; name one of them, as in 'others:own'"),
        ("sizes:n", {}, "the feature service 'sizes' has no on-demand feature 'n'; on-demand features: days, own"),
        ("product", {"word": "a"}, "the on-demand feature 'product' needs code; give a value for each"),
        ("product", {"word": "a", "cod": 1}, "the on-demand feature 'product' takes no 'cod'; did you mean 'code'"),
        ("others:own", {"a": "x", "b": 1}, "the argument 'a' is of type DOUBLE, and 'x' is not; give a value of that"),
        ("nothing", {}, "unknown feature view 'nothing'"),
        (5, {}, "a feature is a text such as 'user_activity:login_count_30d', and not 5"),
        ("words:n", {1: 2}, "an entity is one mapping of keys to values, such as {'user_id': 42}, and not {1: 2}"),
        ("words:n", [1], "an entity is one mapping of keys to values, such as {'user_id': 42}, and not [1]"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_answered(shop: FeatureStore, feature: Any, keys: Any, says: str) -> None:
    with pytest.raises(PitJoinError) as caught:
        shop.explain(feature, keys, "2026-03-02")
    assert str(caught.value).startswith(says)


@pytest.mark.rest
def test_what_was_declared_otherwise_at_the_export(tmp_path: Path) -> None:
    shop = project_of(tmp_path / "shop")
    project, declared = tmp_path / "shop", tmp_path / "shop" / "models" / "models.yml"
    shop.export(as_of="2026-03-01 12:00")
    online = json.loads(command(shop, "words:until", "2026-03-02", "--entity", "word=secret", "--json"))["online"]
    assert online["values"] == online["expected"] == {"until": "20000-01-01T00:00:00.000000Z"}
    assert online["equal"]
    shop.export(as_of="2026-03-02")
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        ("words:n", {"word": "secret"}), ("words:n", {"word": "x"}), ("shops:size", {"code": CODE}),
    )  # fmt: skip

    def why() -> list[tuple[str, ...]]:
        found = []
        for feature, keys in asked:
            online = shop.explain(feature, keys, "2026-03-02").online
            assert isinstance(online, OnlineValue)
            found.append(online.why)
        return found

    assert why() == [(), (), ()]
    change(project, f"insert into shops values ('{CODE.replace('ab', 'cd')}', 3)")
    asked += (("shops:size", {"code": CODE.replace("ab", "cd")}),)
    assert why()[3] == ("the warehouse has a row now that it had not at the export",)
    shop.export(as_of="2026-03-02")
    change(project, "delete from shops where size = 3")
    assert why()[3] == ("the row, which was exported, is not in the warehouse any more",)
    declared.write_text(declared.read_text().replace("default: 7", "default: 8"))
    default = ("the declared default of n has changed since the export",)
    assert why()[:3] == [(), default, (default[0].replace("of n", "of size"),)]
    declared.write_text(declared.read_text().replace("{name: n, data_type: integer", "{name: n, data_type: varchar"))
    change(project, "alter table words alter n type varchar")
    assert why()[0] == ("n was of type int32 at the export, and is of type string now",)
