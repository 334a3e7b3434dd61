"""Replays: planted leaks with their horizons, honest views, what is written, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from support.dbt import failures, run_dbt
from support.projects import run
from support.replayed import EVENTS, HONEST, LEAKS, Planted, make_replayed
from support.runs import LONG

from pit_join import FeatureStore, Replay
from pit_join.audit.replay_cuts import draw_cuts
from pit_join.errors import PitJoinError
from pit_join.history.inputs import read_input

pytestmark = pytest.mark.dbt


UNSTABLE = {
    "drawn": Planted(f"select user_id, loaded_at as event_timestamp, random() as value from {EVENTS}"),
    "sampled": Planted(
        f"select user_id, loaded_at + (random() * interval 1 hour) as event_timestamp, 1 as value from {EVENTS}"
    ),
}


# One lies between two changes of plans, one late on a day.
AT = ["2026-01-20 09:30", "2026-01-25 19:40"]


def sums(folder: Path) -> dict[str, str]:
    """The checksum of every file of a project, its caches apart."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "target" not in path.relative_to(folder).parts
    }


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Replay]:
    """All planted views, replayed once; nothing but the caches was written."""
    project = make_replayed(tmp_path_factory.mktemp("replay") / "shop", {**LEAKS, **HONEST, **UNSTABLE})
    before = sums(project)
    found = FeatureStore(project).replay(cuts=5, at=[] if LONG else AT, show_keys=True)
    assert sums(project) == before
    assert not list((project / "target").rglob("scratch-*"))
    return project, found


@pytest.mark.rest
@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found(month: tuple[Path, Replay], name: str) -> None:
    view = next(view for view in month[1].views if view.view == name)
    assert (view.verdict, view.unbounded) == ("leak", LEAKS[name].unbounded)
    assert view.examples
    assert all(set(example.keys) == {"user_id"} for example in view.examples)
    if LEAKS[name].horizon is not None:
        assert view.horizon is not None
        most = timedelta(hours=LEAKS[name].horizon)
        assert most / 4 < view.horizon <= most


@pytest.mark.rest
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_view_has_no_finding(month: tuple[Path, Replay], name: str) -> None:
    view = next(view for view in month[1].views if view.view == name)
    assert (view.found, view.not_reproducible) == (0, ())
    assert view.verdict == ("not audited" if name == "facts" else "clean")
    assert (view.rows > 0) == (name != "facts")


@pytest.mark.rest
def test_what_is_not_reproducible_is_not_a_leak(month: tuple[Path, Replay]) -> None:
    found = {view.view: (view.verdict, view.not_reproducible) for view in month[1].views if view.view in UNSTABLE}
    assert found == {"drawn": ("not reproducible", ("value", "rows")), "sampled": ("not reproducible", ("rows",))}


@pytest.mark.rest
def test_look_back(month: tuple[Path, Replay]) -> None:
    views = {view.view: view.look_back for view in month[1].views}
    for name, most in {"trailing": 24, "centred": 3}.items():
        found = views[name]
        assert found is not None
        assert timedelta(hours=most / 2) < found <= timedelta(hours=most)
    assert views["versions"] is None
    running = views["running"]
    assert running is not None
    assert running > timedelta(days=20)


@pytest.mark.rest
def test_cuts_are_drawn_inside_days_and_before_changes(month: tuple[Path, Replay]) -> None:
    workspace = FeatureStore(month[0])._workspace()
    with workspace.warehouse() as warehouse:
        inputs = [read_input(workspace, warehouse, f"source.shop.raw.{name}") for name in ("events", "orders")]
        present = [one for one in inputs if one is not None]
        drawn, again, other = (draw_cuts(workspace.macros, warehouse, present, 5, seed) for seed in (1, 1, 2))
        settled = warehouse.rows_later("select epoch_us(settled_at) as at from warehouse.events", "events").result()
        nothing = draw_cuts(
            workspace.macros, warehouse, [replace(present[0], relation="(from warehouse.events limit 0)")], 5, 1
        )
    assert drawn == again != other
    assert nothing is None
    assert drawn is not None
    assert len(drawn.ends) == 5
    assert len(set(drawn.ends) & {row["at"] - 1 for row in settled}) == 2
    assert all(cut % 86_400_000_000 for cut in drawn.ends)
    assert drawn.beginning < drawn.ends[-1] < drawn.last


@pytest.mark.rest
def test_inputs_that_are_not_audited_are_named(month: tuple[Path, Replay]) -> None:
    assert month[1].inputs == ("raw.countries does not say when its rows are known; it feeds facts",)


@pytest.mark.rest
@pytest.mark.proves("duckdb", "replay_is_clean")
def test_the_test_of_dbt_knows_the_present_sql(month: tuple[Path, Replay], tmp_path: Path) -> None:
    project, _ = month
    yaml = project / "models" / "models.yml"
    text, sql = yaml.read_text(), (project / "models" / "running.sql").read_text()
    tested = "    data_tests: [pit_join.replay_is_clean]\n"
    for name in ("running", "zscore"):
        text = text.replace(f'  - name: "{name}"\n', f'  - name: "{name}"\n{tested}')
    yaml.write_text(text)
    result = run_dbt(project, "test", "--select", "running", "zscore")
    assert {name.split("_")[-2] for name in failures(result)} == {"zscore"}
    (project / "models" / "running.sql").write_text(sql + " where true")
    assert len(failures(run_dbt(project, "test", "--select", "running", "zscore"))) == 2
    (project / "models" / "running.sql").write_text(sql)


SMALL = {"running": HONEST["running"]}
LOADED = "loaded_at_field: loaded_at"


def write(project: Path, name: str, sql: str) -> None:
    (project / "models" / f"{name}.sql").write_text(sql)


@pytest.mark.rest
def test_the_command(tmp_path: Path) -> None:
    """A finding and, with --strict, an input that is not audited are exit status 1; texts are escaped."""
    views = {
        "settled": Planted(LEAKS["settled"].sql.replace("fee as value", "E'\\x1b[31m' || fee as word, fee as value")),
        "facts": HONEST["facts"],
    }
    views["settled"] = Planted(views["settled"].sql, more=", {name: word, data_type: varchar}")
    project = make_replayed(tmp_path / "shop", views)
    at = ("--at", "2026-01-11 05:00,2026-01-19 17:00")
    found = run("audit", "--replay", "--show-keys", *at, cwd=project)
    assert (found.status, found.err) == (1, "dbt parses the project\n")
    assert "cuts (seed 0), UTC: 2026-01-11 05:00:00, 2026-01-19 17:00:00" in found.out
    assert "the view would be honest" in found.out
    assert "word was - and is \\x1b[31m" in found.out
    assert "\x1b" not in found.out
    assert "user_id=" in found.out
    facts = ("audit", "--replay", "--select", "facts", "--cuts", "1", "--json")
    found = run(*facts, cwd=project)
    assert found.status == 0
    assert [view["verdict"] for view in json.loads(found.out)["views"]] == ["not audited"]
    assert run(*facts, "--strict", cwd=project).status == 1
    assert "or --replay for the SQL of feature views" in run("audit", cwd=project).err


@pytest.mark.rest
def test_microbatch_models_grow_by_the_batches_between_cuts(tmp_path: Path) -> None:
    batched = replace(HONEST["batched"], config=HONEST["batched"].config.replace("month", "day"))
    store = FeatureStore(make_replayed(tmp_path / "shop", {"batched": batched}))
    (found,) = store.replay(at=["2026-01-05 05:00", "2026-01-11 17:00", "2026-01-14 01:30"], incremental=True).views
    assert (found.verdict, found.kinds) == ("clean", {})


@pytest.mark.rest
def test_incremental_models_as_production_built_them(tmp_path: Path) -> None:
    """A watermark by event time misses late rows, which a full build has; the stored table is reported apart."""
    grown = Planted(
        HONEST["grown"]
        .sql.replace("loaded_at as event_timestamp", '"at" as event_timestamp, loaded_at')
        .replace("loaded_at > (select max(event_timestamp)", '"at" > (select max(event_timestamp)'),
        meta="created_timestamp: loaded_at",
        more=", {name: loaded_at, data_type: timestamptz}",
        config=HONEST["grown"].config,
    )
    project = make_replayed(tmp_path / "shop", {"grown": grown})
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("update events set loaded_at = loaded_at + interval 30 hour where id % 4 = 0")
        connection.execute(
            'create table grown as select user_id, "at" as event_timestamp, loaded_at, id, amount as value from events '
            "where id % 50 > 0"
        )
    at = ["2026-01-11 05:00", "2026-01-19 17:00"]
    store = FeatureStore(project)
    (fully,) = store.replay(at=at).views
    assert (fully.verdict, fully.stored) == ("clean", 14)
    (grown_up,) = store.replay(at=at, incremental=True).views
    assert grown_up.verdict == "leak"
    assert set(grown_up.kinds) == {"appeared"}
    assert grown_up.columns == {}


@pytest.mark.rest
def test_inputs_from_elsewhere(tmp_path: Path) -> None:
    """An external location, an attached database, a seed not loaded, and a file that a model names."""
    project = make_replayed(tmp_path / "shop", {"settled": LEAKS["settled"], "both": HONEST["running"]})
    with duckdb.connect(str(project / "crm.duckdb")) as other:
        other.execute(f"attach '{project / 'warehouse.duckdb'}' as w (read_only)")
        other.execute("create schema raw; create table raw.events as from w.events")
        other.execute(f"copy (from w.events) to '{project / 'orders.parquet'}'")
        other.execute("detach w")
    (project / "profiles" / "profiles.yml").write_text(
        "shop:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: warehouse.duckdb\n"
        "      attach: [{path: crm.duckdb, alias: crm}]\n      settings: {TimeZone: Europe/Berlin}\n"
    )
    sources = (project / "models" / "models.yml").read_text()
    assert sources.count("schema: main\n    tables:") == 1
    sources = sources.replace("    schema: main\n    tables:", "    database: crm\n    schema: raw\n    tables:")
    (project / "models" / "models.yml").write_text(sources)
    (project / "models" / "lake.yml").write_text(
        "sources:\n  - name: lake\n    config: {meta: {external_location: '{name}.parquet'}}\n"
        "    tables: [{name: orders, config: {loaded_at_field: loaded_at + interval 0 second}}]\n"
    )
    (project / "seeds" / "units.csv").write_text("unit\n1\n")
    write(
        project,
        "both",
        "{{ config(materialized='external', location='out.parquet') }} select user_id, loaded_at as event_timestamp, "
        "count(*) over (order by loaded_at) as value from {{ source('lake', 'orders') }} "
        "where 1 in (select unit from {{ ref('units') }}) and 0 < (select count(*) from 'orders.parquet')",
    )
    before = sums(project)
    found = FeatureStore(project).replay(at=["2026-01-19 17:00"])
    assert sums(project) == before
    both, settled = found.views
    assert (both.verdict, both.not_audited) == ("part audited", ("'orders.parquet' in both", "units"))
    assert (settled.verdict, settled.not_audited) == ("leak", ())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hook": True}, "the hook .* may write anywhere; a replay runs it only with allow_hooks=True"),
        ({"sql": "{{ config(post_hook='select 1') }}"}, "config.post-hook may write anywhere"),
        pytest.param(
            {"sql": "select error('no ' || 'luck') as "},
            "dbt could not build the views on the inputs as they are:\n.*luck",
            marks=pytest.mark.rest,
        ),
        (
            {"sql": f"select case when (select count(*) from {EVENTS}) < 400 then error('few') end, "},
            "dbt could not build the views on the inputs known at 2026-01-11 05:00:00:\n.*few",
        ),
        ({"yaml": (LOADED, "meta: {pit_join: {known_at: loaded}}")}, "has no column 'loaded'; did"),
        ({"yaml": (LOADED, "loaded_at_field: at +")}, "raw.events: loaded_at_field: at . cannot be read"),
        ({"yaml": (LOADED, "loaded_at_field: amount")}, "must be a timestamp or date, got DOUBLE"),
        ({"yaml": ("known_at: joined_at", "known: joined_at")}, "config.meta.pit_join.known: unknown key"),
        ({"yaml": ("{known_at: settled_at}", "{known_at: 3}")}, "known_at: must be a column with a time, got 3"),
        ({"yaml": (f"config: {{{LOADED}}}", "description: x")}, "has no effect, since nothing says when"),
        ({"drop": "events"}, "the source 'raw.events' cannot be read; load it"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict, says: str) -> None:
    project = make_replayed(tmp_path / "shop", SMALL)
    models = project / "models"
    if "hook" in change:
        with (project / "dbt_project.yml").open("a") as file:
            file.write("on-run-end: [select 1]\n")
    if "sql" in change:
        sql = (models / "running.sql").read_text()
        begun = change["sql"]
        write(project, "running", f"{begun} {sql}" if "config" in begun else sql.replace("select ", f"{begun}", 1)
              if begun.endswith(", ") else sql.replace("select user_id", f"{begun} x, user_id"))  # fmt: skip
    if "yaml" in change:
        text = (models / "models.yml").read_text()
        assert change["yaml"][0] in text
        (models / "models.yml").write_text(text.replace(*change["yaml"]))
    if "drop" in change:
        with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
            connection.execute(f"drop table {change['drop']}")
    with pytest.raises(PitJoinError, match=f"(?s){says}"):
        FeatureStore(project).replay(at=["2026-01-11 05:00"])
    assert not list(project.rglob("scratch-*"))
