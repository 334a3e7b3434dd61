"""How fresh features are: breaches planted one by one, each told apart, in the warehouse and in the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.projects import BASE, KEYS, make_project, run, view

from pit_join import FeatureStore
from pit_join.errors import RequestError
from pit_join.monitoring.freshness import FeatureFreshness, Freshness
from pit_join.online.opening import open_store
from pit_join.records.layout import moment_of
from pit_join.records.store_manifest import Contents

pytestmark = pytest.mark.dbt

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
COLUMNS = f"{BASE}, {{name: n, data_type: bigint}}"
SLOW = "{name: m, data_type: double, config: {meta: {pit_join: {freshness_slo: 3 hours}}}}"
VIEWS = {
    "clicks": view(
        f'{KEYS}, freshness_slo: {{within: 1 hour, impact: "bids are\\u001b too low", owner: ads@example.com}}',
        f"{COLUMNS}, {SLOW}",
    ),
    "offline": view(f"{KEYS}, freshness_slo: 1 hour, online: false", COLUMNS),
    "unwatched": view(KEYS, COLUMNS),
    "late": view(
        f"{KEYS}, created_timestamp: loaded_at, deleted: gone",
        f"{COLUMNS}, {{name: loaded_at, data_type: timestamptz}}, {{name: gone, data_type: boolean}}",
    ),
    "sums": view(
        f"{KEYS}, lag: 10 minutes, aggregations: [{{name: all_1d, function: count, window: 1 day}}, "
        "{name: big_1d, function: count, column: n, where: n > 5, window: 1 day}]",
        COLUMNS,
    ),
}
SOURCES = """
sources:
  - name: raw
    schema: main
    tables:
      - {name: events, config: {loaded_at_field: event_timestamp}}
"""


def minutes_before(minutes: float) -> int:
    """The microsecond so many minutes before the present of these tests."""
    return moment_of(NOW - timedelta(minutes=minutes))


class Shop:
    """A project whose views read one source; each table has a row a minute up to a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_project(folder, VIEWS, SOURCES)
        for name in VIEWS:
            (folder / "models" / f"{name}.sql").write_text("select * from {{ source('raw', 'events') }}")

    @property
    def yaml(self) -> Path:
        return self.folder / "models" / "models.yml"

    def sql(self, statement: str) -> None:
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(statement)

    def fill(self, source: float = 5, built: float = 5, exported: float | None = 2) -> None:
        """Fill source and tables, and export, so many minutes before the present."""
        for name, minutes, more in (
            ("events", source, ""),
            *((name, built, "") for name in ("offline", "unwatched", "sums")),
            ("clicks", built, ", n::double as m"),
            ("late", built, ", event_timestamp + interval 2 minutes as loaded_at, false as gone"),
        ):
            self.sql(
                f"create or replace table {name} as select 'u' || i % 3 as user_id, timestamptz '{NOW}' - to_minutes"
                f"((i + {minutes})::int) as event_timestamp, i % 10 as n{more} from range(600) as rows (i)"
            )
        if exported is not None:
            self.store.export(as_of=NOW - timedelta(minutes=exported))

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.folder)

    def freshness(self, **options: Any) -> Freshness:
        found = self.store.monitor(now=NOW, **options).freshness
        assert found is not None
        return found

    def run(self, *arguments: str) -> Any:
        return run("--project-dir", str(self.folder), "monitor", "--now", "2026-03-01 12:00", *arguments)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("fresh") / "shop")


@pytest.fixture
def shop(project: Shop) -> Iterator[Shop]:
    project.fill()
    yield project
    (project.folder / "warehouse.duckdb").unlink(missing_ok=True)


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """A file with another text for a while; no old text stands for its end."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new) if old else text + new)
    try:
        yield
    finally:
        path.write_text(text)


def by_name(found: Freshness) -> dict[str, FeatureFreshness]:
    return {f"{each.view}:{each.feature}": each for each in found.features}


def breaches(found: Freshness) -> dict[str, str | None]:
    return {name: each.lost for name, each in by_name(found).items() if each.breached}


def test_nothing_planted_nothing_said(shop: Shop) -> None:
    monitoring = shop.store.monitor(now=NOW)
    assert (monitoring.project, monitoring.target, monitoring.now) == ("shop", "dev", NOW)
    found = shop.freshness()
    assert (found.found, breaches(found), found.unchecked) == (False, {}, ())
    features = by_name(found)
    assert set(features) == {
        "clicks:n", "clicks:m", "offline:n", "unwatched:n", "late:n", "sums:all_1d", "sums:big_1d",
    }  # fmt: skip
    clicks = features["clicks:n"]
    assert (clicks.known, clicks.served, clicks.exported_at) == tuple(map(minutes_before, (5, 5, 2)))
    assert (clicks.age, clicks.slo, features["clicks:m"].slo, features["unwatched:n"].slo) == (300, 3600, 10800, None)
    assert (features["offline:n"].served, features["offline:n"].age) == (None, 300)
    done = shop.run()
    assert (done.status, "!" in done.out, done.err) == (0, False, "")


def test_an_exporter_that_died(shop: Shop) -> None:
    shop.fill(exported=100)
    found = shop.freshness()
    why = "export: the last one is as of 2026-03-01T10:20:00Z, and the warehouse has newer values"
    assert breaches(found) == {"clicks:n": why}
    assert by_name(found)["clicks:n"].age == 6000
    done = shop.run()
    assert done.status == 1
    assert f"! clicks: n: {why}\n    impact: bids are\\x1b too low\n    owner: ads@example.com\n" in done.out
    (first, *_) = json.loads(shop.run("--json", "--select", "clicks").out)["freshness"]["features"]
    assert (first["impact"], first["owner"]) == ("bids are\x1b too low", "ads@example.com")


def test_a_build_that_failed(shop: Shop) -> None:
    shop.fill(built=90)
    table = "the table of the view has rows until 2026-03-01T10:30:00Z"
    why = f"build: raw.events has rows until 2026-03-01T11:55:00Z; {table}"
    assert breaches(shop.freshness()) == {"clicks:n": why, "offline:n": why}
    shop.fill(source=50, built=70)  # late rows, or rows that were not built: without a created time nobody knows
    assert {str(why).split(": ")[0] for why in breaches(shop.freshness()).values()} == {"source or build"}
    shop.fill(source=70, built=300, exported=400)
    (why,) = {breaches(shop.freshness())["clicks:n"]}
    assert why == (
        "source and build: raw.events has rows until 2026-03-01T10:50:00Z; the table of the view has rows until "
        "2026-03-01T07:00:00Z; export: the last one is as of 2026-03-01T05:20:00Z, and the warehouse has newer values"
    )


def test_a_created_time_tells_source_and_build_apart(shop: Shop) -> None:
    """It is when a row was loaded, as the time of the source is."""
    slo = "created_timestamp: loaded_at, freshness_slo: 1 hour"
    source = "loaded_at_field: event_timestamp + interval 2 minutes"
    with (
        edited(shop.yaml, "created_timestamp: loaded_at", slo),
        edited(shop.yaml, "loaded_at_field: event_timestamp", source),
    ):
        for built, which in ((59, None), (61, "source"), (65, "build")):
            shop.fill(source=min(built, 61), built=built)
            lost = breaches(shop.freshness(select=["late"])).get("late:n")
            assert (lost and lost.split(": ")[0]) == which
        shop.fill(source=62, built=62)
        assert str(breaches(shop.freshness(select=["late"]))["late:n"]).startswith("source: raw.events has rows until")


def test_a_lag_that_is_longer_than_the_slo(shop: Shop) -> None:
    with edited(shop.yaml, "lag: 10 minutes", "lag: 10 minutes, freshness_slo: 10 minutes"):
        why = "lag: the view's lag of 10 minutes is not shorter than the SLO"
        assert breaches(shop.freshness(select=["sums"])) == {"sums:all_1d": why, "sums:big_1d": why}


def test_a_source_that_is_silent(shop: Shop) -> None:
    shop.fill(source=90, built=90)
    table = "the table of the view has rows until 2026-03-01T10:30:00Z"
    why = f"source: raw.events has rows until 2026-03-01T10:30:00Z; {table}"
    assert breaches(shop.freshness()) == {"clicks:n": why, "offline:n": why}
    shop.fill(source=300, built=300)
    assert set(breaches(shop.freshness())) == {"clicks:n", "clicks:m", "offline:n"}


def test_a_feature_that_is_null_of_late(shop: Shop) -> None:
    """Rows come, but one column of them is empty: in the source, so that a build would not help."""
    shop.sql(f"update clicks set m = null where event_timestamp > timestamptz '{NOW}' - interval 4 hours")
    shop.store.export(as_of=NOW)
    found = shop.freshness()
    why = "value: it is null since 2026-03-01T08:00:00Z, and other features of the view have newer values"
    assert breaches(found) == {"clicks:m": why}
    m = by_name(found)["clicks:m"]
    assert (m.known, m.served, m.age) == (minutes_before(240), None, None)  # of each user the newest row is served
    shop.sql("update clicks set m = null where user_id <> 'u1'")
    shop.sql(
        f"update clicks set m = 1 where user_id = 'u1' and event_timestamp > timestamptz '{NOW}' - interval 7 minutes"
    )
    shop.store.export(as_of=NOW)
    assert not shop.freshness().found
    shop.sql(f"update clicks set m = null where event_timestamp > timestamptz '{NOW}' - interval 2 hours")
    shop.sql(f"update clicks set m = 1 where event_timestamp <= timestamptz '{NOW}' - interval 2 hours")
    shop.store.export(as_of=NOW)
    why = "value: it is null in the newest rows; 2026-03-01T10:00:00Z is the last with a value"
    assert breaches(shop.freshness()) == {"clicks:m": why}  # of three hours none are lost, and yet nothing is served
    shop.sql("update clicks set m = null")
    shop.store.export(as_of=NOW)
    why = "value: it is null in all rows, and other features of the view have newer values"
    assert breaches(shop.freshness()) == {"clicks:m": why}
    assert "no value" in shop.run().out


def test_what_is_not_known_yet_is_not_fresh(shop: Shop) -> None:
    """Rows count from their created time on, without marks of deletion; events of a window after the lag."""
    features = by_name(shop.freshness())
    assert features["late:n"].known == minutes_before(5)
    shop.sql("update late set loaded_at = event_timestamp + interval 30 minutes")
    assert by_name(shop.freshness())["late:n"].known == minutes_before(30)
    shop.sql(f"update late set gone = true where event_timestamp > timestamptz '{NOW}' - interval 100 minutes")
    assert by_name(shop.freshness())["late:n"].known == minutes_before(100)
    # The event of ten minutes before becomes known exactly now, which is not before now.
    assert features["sums:all_1d"].known == features["sums:big_1d"].known == minutes_before(11)
    shop.sql(f"delete from sums where n > 5 and event_timestamp > timestamptz '{NOW}' - interval 20 minutes")
    features = by_name(shop.freshness())
    assert features["sums:all_1d"].known == minutes_before(15)  # n is 5 ten minutes before, and then it is 6 to 9
    assert features["sums:big_1d"].known == minutes_before(21)


def test_a_store_that_was_never_filled(shop: Shop) -> None:
    shutil.rmtree(shop.folder / "online")
    shop.fill(exported=None)
    found = shop.freshness()
    assert (breaches(found), len(found.unchecked)) == ({}, 1)
    assert found.unchecked[0].startswith("the online store: there is no online store in ")
    assert shop.freshness(select=["offline"]).unchecked == ()
    done = shop.run("--select", "clicks,offline")
    assert (done.status, "warning: the online store: " in done.err, "not judged" in done.out) == (3, True, True)
    done = shop.run("--select", "offline")
    assert (done.status, done.err) == (0, "")
    shop.store.export(["unwatched"], as_of=NOW)
    assert breaches(shop.freshness()) == dict.fromkeys(
        ("clicks:n", "clicks:m"), "export: the view was not exported yet"
    )


def test_a_named_store_that_is_not_there(shop: Shop, tmp_path: Path) -> None:
    """What the default store says of its views is of the last export, and no look at them."""
    declared = "join_keys: [user_id], freshness_slo: {"
    with edited(shop.yaml, declared, declared.replace("freshness", "online_store: fast, freshness")):
        store = FeatureStore(shop.folder, online_stores={"fast": str(tmp_path / "fast")})
        store.export(as_of=NOW - timedelta(minutes=2))
        found = store.monitor(now=NOW).freshness
        assert found is not None
        assert (found.found, found.unchecked, by_name(found)["clicks:n"].age) == (False, (), 300)
        shutil.rmtree(tmp_path / "fast")
        found = store.monitor(now=NOW).freshness
        assert found is not None
        assert not by_name(found)["clicks:n"].judged
        assert by_name(found)["unwatched:n"].judged
        assert [line.split(": ")[0] for line in found.unchecked] == ["the online store 'fast'"]
        (said,) = shop.freshness().unchecked
        assert said.startswith("the online store 'fast': no URL of it is known here; ")


def test_events_that_only_some_features_take(shop: Shop) -> None:
    """A record has the time of its newest event, also if a feature with a condition does not take it."""
    shop.sql(f"update sums set n = 1 where event_timestamp > timestamptz '{NOW}' - interval 5 hours")
    shop.store.export(as_of=NOW - timedelta(minutes=2))
    features = by_name(shop.freshness(select=["sums"]))
    assert features["sums:all_1d"].served == minutes_before(13)
    assert features["sums:big_1d"].served == features["sums:big_1d"].known
    assert features["sums:big_1d"].age > 5 * 3600


def test_a_stale_export_is_a_breach(shop: Shop) -> None:
    """Then defaults are served, however new the values were; also without an SLO."""
    declared = "created_timestamp: loaded_at"
    with edited(shop.yaml, declared, f"{declared}, max_staleness: 1 hour"):
        shop.fill(exported=55)
        assert "late:n" not in breaches(shop.freshness())
        shop.fill(exported=61)
        why = breaches(shop.freshness())["late:n"]
        assert why is not None
        assert why.startswith("export: defaults are served, since the export of the feature view 'late' is as of")
        assert "stale" in shop.run("--select", "late").out


def test_an_export_of_later(shop: Shop) -> None:
    shop.store.export(as_of=NOW + timedelta(minutes=1))
    found = shop.freshness(select=["clicks"])
    assert (found.found, found.unchecked) == (
        False, ("clicks: its export is later than the instant at which ages are judged",),
    )  # fmt: skip


def test_several_sources(shop: Shop) -> None:
    """One of them is silent: whether that is the fault, or the build, is not known."""
    table = "      - {name: users, config: {loaded_at_field: seen_at}}\n"
    more = " join {{ source('raw', 'users') }} using (user_id)"
    with edited(shop.yaml, "", table), edited(shop.folder / "models" / "clicks.sql", "", more):
        shop.sql(f"create or replace table users as select 'u0' as user_id, timestamptz '{NOW}' as seen_at")
        shop.fill(source=90, built=90)
        why = (
            "source or build: raw.events has rows until 2026-03-01T10:30:00Z; raw.users has rows until "
            "2026-03-01T12:00:00Z; the table of the view has rows until 2026-03-01T10:30:00Z"
        )
        assert breaches(shop.freshness(select=["clicks"])) == {"clicks:n": why}
        shop.sql("truncate users")
        why = (
            "source: raw.events has rows until 2026-03-01T10:30:00Z; raw.users has no rows, or cannot be read; "
            "the table of the view has rows until 2026-03-01T10:30:00Z"
        )
        assert breaches(shop.freshness(select=["clicks"])) == {"clicks:n": why}


def test_a_store_of_before(shop: Shop) -> None:
    """An export of an older pit-join noted nothing, which is said, and is no breach."""
    contents = Contents.from_json(shop.store._open_online_store().contents()[1], "the store")
    views = {name: replace(stored, noted={}) for name, stored in contents.views.items()}
    with open_store(shop.store.online_store).writing(1, lambda message: None) as writer:
        told = replace(contents, views=views).to_json()
        writer.replace(told, {}, dict(contents.views), 2, False, lambda done, total, view: None)
    found = shop.freshness(select=["clicks", "offline"])
    why = "clicks: its export noted no times, as before there was this check; export anew"
    assert (breaches(found), found.unchecked) == ({}, (why,))
    assert shop.run("--select", "clicks").status == 3


def test_a_store_is_judged_without_the_warehouse(shop: Shop) -> None:
    shop.fill(exported=100)
    (shop.folder / "warehouse.duckdb").unlink()
    found = shop.freshness()
    assert (set(breaches(found)), by_name(found)["offline:n"].judged) == ({"clicks:n"}, False)
    assert by_name(found)["clicks:n"].lost is None
    assert "the warehouse: " in found.unchecked[0]
    done = shop.run("--select", "clicks", "--json")
    assert done.status == 1
    (first, *_) = json.loads(done.out)["freshness"]["features"]
    assert (first["feature"], first["breached"], first["known"]) == ("n", True, None)
    assert (first["served"], first["exported_at"]) == ("2026-03-01T10:20:00Z", "2026-03-01T10:20:00Z")


def test_a_view_that_cannot_be_read(shop: Shop) -> None:
    shop.sql("drop table unwatched")
    found = shop.freshness()
    assert (breaches(found), len(found.unchecked), "unwatched" in found.unchecked[0]) == ({}, 1, True)
    assert shop.run().status == 3


def test_what_is_asked_for(shop: Shop) -> None:
    assert {each.view for each in shop.freshness(select=["late", "sums"]).features} == {"late", "sums"}
    with pytest.raises(RequestError, match="unknown feature view 'clikcs'"):
        shop.freshness(select=["clikcs"])
    with pytest.raises(RequestError, match="there is no check 'drfit'"):
        shop.store.monitor(checks=["drfit"])
    with pytest.raises(RequestError, match="the check skew reads a feature log; give its folder with log="):
        shop.store.monitor(checks=["skew"])
    with pytest.raises(RequestError, match="log= has no effect on these checks"):
        shop.store.monitor(shop.folder, checks=["freshness"])
    done = shop.run("--start", "2026-03-01")
    assert (done.status, "--start has no effect without --log" in done.err) == (2, True)


def test_a_source_without_a_time(shop: Shop) -> None:
    with edited(shop.yaml, ", config: {loaded_at_field: event_timestamp}", ""):
        shop.fill(source=90, built=90)
        why = "source or build: no source says when its rows were loaded (loaded_at_field)"
        assert set(breaches(shop.freshness()).values()) == {why}
