"""The skew report names what was planted, of the right kind, and nothing else."""

from __future__ import annotations

import io
import json
import logging
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.dbt import Built
from support.pages import DOCS, follow, steps
from support.projects import BASE, KEYS, make_project, run, view
from support.runs import sampled

from pit_join import FeatureLog, FeatureStore, Monitoring, PitJoinError
from pit_join.training.equality import same

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

UTC = timezone.utc
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
ASKED = NOON + timedelta(minutes=5)
USERS = ("a", "b", "c", "d")
SERVICE = """
exposures:
  - name: churn
    type: ml
    owner: {name: us, email: us@example.com}
    depends_on: [ref('account'), ref('risk'), ref('visits')]
    config: {meta: {pit_join: {features: [
      "account:plan", {view: account, as: friend, join_keys: {user_id: friend_id}, features: ["*"]}, "risk:score",
      "visits:*", {on_demand: share, arguments: {part: amount, whole: "account:credit"}},
      {on_demand: share, as: per_visit, arguments: {part: "account:credit", whole: "visits:visits_6h"}}]}}}
"""
MACRO = "{% macro share(part, whole) -%}\n{{ part }} / {{ whole }}\n{%- endmacro %}\n"
MACRO_YAML = """
macros:
  - name: share
    arguments: [{name: part, type: double}, {name: whole, type: double}]
    config: {meta: {pit_join: {returns: double}}}
"""


def columns(*features: str) -> str:
    """Columns as YAML, of names and types, and what may follow these."""
    return ", ".join((BASE, *(f"{{name: {each.replace(' ', ', data_type: ', 1)}}}" for each in features)))


def set_up(warehouse: Path) -> None:
    """Every ten minutes a row of each user up to 11:50, known at once; visits each hour, but none in this one."""
    with duckdb.connect(str(warehouse)) as connection:
        start = "timestamptz '2025-03-01 00:00:00+00'"
        users = f"unnest({list(USERS)}) as user_id"
        every = f"{start} + to_minutes(cast(10 * n as bigint)) as event_timestamp"
        for name, values in {
            "account": "'plan ' || n as plan, cast(100 + n as double) as credit",
            "risk": "case when n % 2 = 0 then n / 7 end as score",
        }.items():
            connection.execute(
                f"create or replace table {name} as select * from "
                f"(select {users}, {every}, {values} from range(72) as r(n)) where user_id <> 'd'"
            )
        connection.execute(
            f"create or replace table visits as select {users}, {start} + to_minutes(cast(60 * n + 30 as bigint)) "
            "as event_timestamp, n / 3 as seconds from range(11) as r(n)"
        )


@dataclass(frozen=True)
class Lab:
    """A project, and a log of what its store has served."""

    folder: Path
    log: Path

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.folder)

    def sql(self, statement: str) -> None:
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            connection.execute(statement)

    def serve(self, now: datetime = ASKED, sample: float = 1.0, features: Any = "churn", **options: Any) -> int:
        """Ask for every user, one by one and together; gives the rows."""
        log = FeatureLog(self.log, sample)
        reader = FeatureStore(self.folder, feature_log=log).online_reader(features, **options)
        rows = [{"user_id": user, "friend_id": "a", "amount": 7.0} for user in USERS]
        for row in rows:
            reader.get(row, now=now)
        reader.get_online_features(rows, now=now)
        assert log.close()
        assert log.logged == 2 * len(rows)
        return 2 * len(rows)

    def monitor(self, **options: Any) -> Monitoring:
        return self.store.monitor(self.log, **options)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skew") / "lab"
    windows = "{name: visits_6h, function: count, window: 6 hours}, "
    windows += "{name: seconds_6h, function: sum, column: seconds, window: 6 hours}"
    views = {
        "account": view(KEYS, columns("plan varchar", "credit double")),
        "risk": view(f"{KEYS}, ttl: 1 hour", columns("score double, config: {meta: {pit_join: {default: -1}}}")),
        "visits": view(f"{KEYS}, aggregations: [{windows}]", columns("seconds double")),
    }
    make_project(folder, views, SERVICE)
    (folder / "macros").mkdir()
    (folder / "macros" / "share.sql").write_text(MACRO)
    (folder / "macros" / "share.yml").write_text(MACRO_YAML)
    return folder


@pytest.fixture
def lab(project: Path, tmp_path: Path) -> Lab:
    """The project as it was at first, exported at noon, and an empty log."""
    set_up(project / "warehouse.duckdb")
    FeatureStore(project).export(as_of=NOON)
    return Lab(project, tmp_path / "log")


@pytest.fixture
def own(lab: Lab, tmp_path: Path) -> Lab:
    """A copy, whose files may be changed."""
    shutil.copytree(lab.folder, tmp_path / "lab")
    return Lab(tmp_path / "lab", lab.log)


def kinds(found: Monitoring) -> dict[tuple[str, str, str], dict[str, int]]:
    """By view, role and feature what is not a match."""
    other = ("stale", "different", "fallback", "not_compared")
    counted = {
        (each.view, each.role, each.feature): {kind: getattr(each, kind) for kind in other if getattr(each, kind)}
        for each in found.skew.features
    }
    return {name: counts for name, counts in counted.items() if counts}


FEATURES = {
    ("account", "account", "plan"), ("account", "friend", "plan"), ("account", "friend", "credit"),
    ("risk", "risk", "score"), ("visits", "visits", "visits_6h"), ("visits", "visits", "seconds_6h"),
    ("on_demand", "share", "share"), ("on_demand", "per_visit", "share"),
}  # fmt: skip


def test_an_untouched_project_matches(lab: Lab) -> None:
    rows = lab.serve()
    found = lab.monitor()
    assert found.skew.rows == rows
    assert {(each.view, each.role, each.feature) for each in found.skew.features} == FEATURES
    assert all(each.rows == each.match == rows for each in found.skew.features)
    assert not found.found
    assert (found.skew.stale_views, found.skew.changes, found.skew.unread, found.skew.hints) == ((), (), (), ())
    assert run("--project-dir", str(lab.folder), "monitor", "--log", str(lab.log)).status == 0


def wrong_value(lab: Lab) -> None:
    """The warehouse is another when it is exported, and then as it was."""
    lab.sql("update risk set score = score + 1 where user_id = 'b' and event_timestamp = '2025-03-01 11:40:00+00'")
    lab.sql("update risk set score = 10 where user_id = 'b' and event_timestamp = '2025-03-01 11:50:00+00'")
    lab.store.export(as_of=NOON)
    lab.serve()
    set_up(lab.folder / "warehouse.duckdb")


def stale_view(lab: Lab) -> None:
    """The view of risk was exported earlier than the others: the row of 11:50 was not known."""
    lab.store.export(["risk"], as_of=NOON - timedelta(minutes=15))
    lab.serve()


def changed_definition(lab: Lab) -> None:
    """The model computes another sum, and was built again."""
    lab.serve()
    lab.sql("update visits set seconds = seconds * 2")


PLANTED: dict[str, tuple[Callable[[Lab], None], dict[tuple[str, str, str], dict[str, int]]]] = {
    "wrong value": (wrong_value, {("risk", "risk", "score"): {"different": 2}}),
    "stale view": (stale_view, {("risk", "risk", "score"): {"stale": 6}}),
    "changed definition": (changed_definition, {("visits", "visits", "seconds_6h"): {"different": 8}}),
}


@pytest.mark.parametrize("what", sampled(PLANTED, 4))
def test_what_is_planted_is_found_and_nothing_else(lab: Lab, what: str) -> None:
    plant, wanted = PLANTED[what]
    plant(lab)
    found = lab.monitor()
    assert kinds(found) == wanted
    assert found.found
    done = run("--project-dir", str(lab.folder), "monitor", "--log", str(lab.log), "--json")
    assert done.status == 1
    ((view, _, feature),) = wanted
    said = json.loads(done.out)["skew"]
    assert {each["feature"] for each in said["features"] if each["stale"] or each["different"]} == {feature}
    assert {each["view"] for each in said["stale_views"]} == ({view} if what == "stale view" else set())
    assert len(said["hints"]) == (what != "stale view")


def test_all_of_them_in_one_project(lab: Lab) -> None:
    lab.sql("update account set plan = 'gold' where user_id = 'b' and event_timestamp = '2025-03-01 11:50:00+00'")
    lab.store.export(as_of=NOON)
    set_up(lab.folder / "warehouse.duckdb")
    stale_view(lab)
    lab.sql("update visits set seconds = seconds * 2")
    found = lab.monitor()
    wanted = {name: counts for what, (_, named) in PLANTED.items() for name, counts in named.items()}
    wanted |= {("risk", "risk", "score"): {"stale": 6}, ("account", "account", "plan"): {"different": 2}}
    assert kinds(found) == wanted
    (example, _) = next(each.examples for each in found.skew.features if each.feature == "plan" and each.different)
    assert (example.keys, example.served, example.expected) == ({"user_id": "b", "friend_id": "a"}, "gold", "plan 71")
    assert (example.served_at, example.service, example.served_status) == (ASKED, "churn", "PRESENT")


def test_how_much_a_lag_falls_short(own: Lab) -> None:
    """With so much more lag the rule does not know at the time served what was not exported: then all is a match."""
    stale_view(own)
    (found,) = own.monitor().skew.stale_views
    assert (found.view, found.rows, found.lag) == ("risk", 6, 0.0)
    assert (found.age_p50, found.age_p90, found.short_by) == (20 * 60, 20 * 60, 20 * 60)
    path = own.folder / "models" / "models.yml"
    path.write_text(path.read_text().replace("ttl: 1 hour", f"ttl: 1 hour, lag: {found.short_by:.0f} seconds"))
    assert not own.monitor().found


def test_stale_arguments_make_a_stale_on_demand_feature(lab: Lab) -> None:
    """And are told of their view, also if that is not stale where it is served itself."""
    lab.store.export(["account"], as_of=NOON - timedelta(minutes=15))
    lab.serve(features="churn")
    found = lab.monitor()
    assert kinds(found) == {
        ("account", "account", "plan"): {"stale": 6},
        ("account", "friend", "credit"): {"stale": 8},
        ("account", "friend", "plan"): {"stale": 8},
        ("on_demand", "per_visit", "share"): {"stale": 6},
        ("on_demand", "share", "share"): {"stale": 6},
    }
    # One count for each role: that of a and b and c by itself, and the friend's of all.
    assert [(each.view, each.rows) for each in found.skew.stale_views] == [("account", 14)]


def test_whole_seconds(tmp_path: Path) -> None:
    """Parquet has no timestamps of seconds: the log holds milliseconds, which are not another type."""
    features = columns("seen timestamp_s", "all_seen 'timestamp_s[]'")
    folder = make_project(tmp_path / "lab", {"activity": view(KEYS, features)})
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "create table activity as select 'a' as user_id, timestamptz '2025-03-01 00:00:00+00' as event_timestamp, "
            "timestamp_s '2025-02-28 23:59:59' as seen, [seen, null] as all_seen"
        )
    lab = Lab(folder, tmp_path / "log")
    lab.store.export(as_of=NOON)
    served = lab.serve(features=["activity:*"])
    found = lab.monitor().skew
    assert found is not None
    assert {each.feature: (each.match, each.not_compared) for each in found.features} == {
        "seen": (served, 0),
        "all_seen": (served, 0),
    }
    lab.sql("update activity set seen = seen - interval 1 second")
    again = lab.monitor().skew
    assert again is not None
    assert {each.feature: each.different for each in again.features} == {"seen": 2, "all_seen": 0}


def test_a_macro_that_was_changed(own: Lab) -> None:
    own.serve()
    (own.folder / "macros" / "share.sql").write_text(MACRO.replace("/", "+"))
    assert kinds(own.monitor()) == {("on_demand", name, "share"): {"different": 6} for name in ("per_visit", "share")}


def test_a_value_that_becomes_too_old(lab: Lab) -> None:
    """What was exported young is too old when it is served: on both sides, so that is no skew."""
    late = NOON + timedelta(hours=3)
    lab.sql("delete from visits")
    lab.store.export(as_of=NOON)
    lab.serve(late)
    found = lab.monitor()
    assert kinds(found) == {}
    (path,) = lab.log.iterdir()
    assert {row["features"]["score"]["status"] for row in pq.read_table(path).to_pylist()} == {
        "OUTSIDE_MAX_AGE",
        "NOT_FOUND",
    }
    # A newer one, unknown to the store, would not be too old: that is stale.
    lab.sql("insert into risk values ('a', '2025-03-01 14:30:00+00', 5)")
    assert kinds(lab.monitor()) == {("risk", "risk", "score"): {"stale": 2}}


@pytest.mark.parametrize("status", ["STORE_FAILED", "STALE"])
def test_fallbacks_are_no_skew(status: str, lab: Lab) -> None:
    """Statuses of values that stand for a store that failed; of what was computed from them, too."""
    lab.serve()
    (path,) = lab.log.iterdir()
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        if row["keys"]["user_id"] == "b":
            row["features"]["plan"] = {"value": None, "status": status}
            row["features"]["share"]["value"] = 1e9
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    found = lab.monitor()
    assert kinds(found) == {
        ("account", "account", "plan"): {"fallback": 2},
        ("on_demand", "per_visit", "share"): {"fallback": 2},
        ("on_demand", "share", "share"): {"fallback": 2},
    }
    assert not found.found


def test_what_a_stale_export_served_is_no_skew(own: Lab) -> None:
    (declared,) = (own.folder / "models").glob("*.yml")
    text = declared.read_text()
    assert text.count("aggregations: [") == 1
    declared.write_text(text.replace("aggregations: [", "max_staleness: 1 minute, aggregations: ["))
    own.store.export(as_of=NOON)
    own.serve()
    found = own.monitor()
    stale = {key: counts for key, counts in kinds(found).items() if "fallback" in counts}
    assert {view for view, _, _ in stale} == {"visits", "on_demand"}
    assert all(set(counts) == {"fallback"} for counts in stale.values())


# What has changed since, and what cannot be read ----------------------------------------------------------------


def test_what_the_project_has_no_longer(own: Lab) -> None:
    own.serve()
    path = own.folder / "models" / "models.yml"
    text = path.read_text().replace("name: churn\n", "name: churn_v2\n").replace('"risk:score",\n      ', "")
    text = text.replace(", ref('risk')", "").replace("name: risk\n", "name: danger\n").replace("credit", "limit")
    text = text.replace("visits_6h", "visits_5h")
    path.write_text(text)
    (own.folder / "models" / "risk.sql").rename(own.folder / "models" / "danger.sql")
    own.sql('alter table account rename credit to "limit"; alter table account alter plan type integer using 1')
    text = path.read_text().replace("{name: plan, data_type: varchar}", "{name: plan, data_type: integer}")
    path.write_text(text)
    found = own.monitor()
    gone = [("account", "account", "plan"), ("account", "friend", "plan"), ("account", "friend", "credit")]
    gone += [("risk", "risk", "score"), ("visits", "visits", "visits_6h"), ("on_demand", "share", "share")]
    gone += [("on_demand", "per_visit", "share")]
    assert kinds(found) == {name: {"not_compared": 8} for name in gone}
    assert not found.found
    assert found.skew.changes == (
        "account:plan is int32, and was served as string: 16 rows",
        "the feature account:credit is no longer in the project: 8 rows",
        "the feature service 'churn' is no longer in the project: 8 rows",
        "the feature view 'risk' is no longer in the project: 8 rows",
        "the feature visits:visits_6h is no longer in the project: 8 rows",
        "the on-demand feature 'share' takes account:credit, which the project no longer has: 16 rows",
    )


def flipped(data: bytes) -> bytes:
    """A file with one wrong bit, of which a reader that does not look at checksums makes other values."""
    right = pq.read_table(io.BytesIO(data))
    for place in range(4, len(data) // 2):
        wrong = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with suppress(Exception):
            if not pq.read_table(io.BytesIO(wrong)).equals(right):
                return wrong
    raise AssertionError("each wrong bit is noticed without checksums")


def test_files_that_cannot_be_read_are_named_and_left_out(lab: Lab) -> None:
    lab.serve()
    (good,) = lab.log.iterdir()
    data = good.read_bytes()
    (lab.log / "short.parquet").write_bytes(data[: len(data) // 2])
    (lab.log / "empty.parquet").write_bytes(b"")
    (lab.log / "flipped.parquet").write_bytes(flipped(data))
    pq.write_table(pa.table({"a": [1]}), lab.log / "foreign.parquet")
    table = pq.read_table(good)
    about = json.loads(table.schema.metadata[b"pit_join_feature_log"])
    newer = {b"pit_join_feature_log": json.dumps({**about, "format": 2}).encode()}
    pq.write_table(table.replace_schema_metadata(newer), lab.log / "newer.parquet")
    (lab.log / "notes.txt").write_text("not a file of the log, and nobody says that it is")
    done = run("--project-dir", str(lab.folder), "monitor", "--log", str(lab.log))
    assert done.status == 3
    names = ("empty", "flipped", "foreign", "newer", "short")
    warned = [line for line in done.err.splitlines() if line.startswith("warning: left out ")]
    assert sorted(line.split()[3].removesuffix(".parquet:") for line in warned) == list(names)
    assert "8 rows, 64 values: 64 match, 0 stale, 0 different" in done.out
    lab.sql("update risk set score = 0")
    assert run("--project-dir", str(lab.folder), "monitor", "--log", str(lab.log)).status == 1


def test_spans_and_services(lab: Lab) -> None:
    lab.serve(ASKED)
    lab.serve(ASKED + timedelta(minutes=1))
    lab.serve(ASKED + timedelta(minutes=2), features=["account:plan"])
    assert lab.monitor().skew.rows == 24
    assert lab.monitor(start=ASKED + timedelta(minutes=1)).skew.rows == 16
    assert lab.monitor(end=ASKED + timedelta(minutes=1)).skew.rows == 8
    assert lab.monitor(start="2025-03-01 12:06", end="2025-03-01 12:07").skew.rows == 8
    assert lab.monitor(service="churn").skew.rows == 16
    assert lab.monitor(start="2025-03-02").skew.rows == 0
    with pytest.raises(PitJoinError, match=r"has nothing of the service 'chrn'; did you mean 'churn'\?"):
        lab.monitor(service="chrn")
    with pytest.raises(
        PitJoinError, match=r"there is no feature log in .*; name the folder that .* or .*nothing was sampled yet"
    ):
        lab.store.monitor(lab.folder / "nowhere", checks=["skew"])
    with pytest.raises(PitJoinError, match="cannot read the instant 'noon'"):
        lab.monitor(start="noon")


def test_without_defaults_and_with_full_names(lab: Lab) -> None:
    """What is asked of the rule is what was asked of the reader."""
    lab.serve(features=["risk:score", "account:plan"], defaults=False, full_feature_names=True)
    lab.serve(features=["risk:score"])
    found = lab.monitor()
    assert (kinds(found), found.skew.rows) == ({}, 16)
    values = [row["features"] for path in sorted(lab.log.iterdir()) for row in pq.read_table(path).to_pylist()]
    assert {"value": None, "status": "NULL_VALUE"} in [each.get("risk__score") for each in values]
    assert {"value": -1.0, "status": "NULL_VALUE"} in [each.get("score") for each in values]


def test_floats_of_windows_may_differ_a_little(lab: Lab) -> None:
    lab.serve()
    lab.sql("update visits set seconds = seconds * (1 + 1e-12)")
    assert not lab.monitor().found
    assert kinds(lab.monitor(tolerance=0)) == {("visits", "visits", "seconds_6h"): {"different": 8}}
    lab.sql("update account set credit = credit * (1 + 1e-12)")
    found = {(role, feature) for _, role, feature in kinds(lab.monitor())}
    assert found == {("friend", "credit"), ("share", "share"), ("per_visit", "share")}


def test_chunks_give_the_same(lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """However many rows are compared at a time; progress is logged."""
    for number in range(4):
        lab.serve(ASKED + timedelta(minutes=number))
    lab.sql("update risk set score = 10 where user_id = 'b'")
    whole = lab.monitor()
    monkeypatch.setattr("pit_join.monitoring.log_reader._CHUNK_ROWS", 8)
    caplog.set_level(logging.INFO, "pit_join")
    caplog.clear()  # an earlier test may have set the level already
    parts = lab.monitor()
    assert parts.skew == whole.skew
    told = [record.progress[:2] for record in caplog.records if hasattr(record, "progress")]
    assert told == [(done, 32) for done in (0, 8, 16, 24, 32)]


# How values are compared ----------------------------------------------------------------------------------------

ALIKE: list[tuple[pa.DataType, Any, Any, bool]] = [
    (pa.float64(), math.nan, math.nan, True),
    (pa.float64(), 0.1 + 0.2, 0.3, False),
    (pa.float64(), math.inf, math.inf, True),
    (pa.float64(), math.inf, 1e308, False),
    (pa.float64(), None, math.nan, False),
    (pa.string(), None, "", False),
    (pa.string(), None, None, True),
    (pa.decimal128(9, 2), Decimal("1.10"), Decimal("1.10"), True),
    (pa.bool_(), True, None, False),
    (pa.list_(pa.float32()), [1.0, math.nan, None], [1.0, math.nan, None], True),
    (pa.list_(pa.float32()), [1.0], [1.0, 2.0], False),
    (pa.list_(pa.float32()), [], None, False),
    (pa.list_(pa.float32()), [], [], True),
    (pa.list_(pa.string()), ["a", None], ["a", "b"], False),
]


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, *_ in ALIKE), ids=str)
def test_same(kind: pa.DataType) -> None:
    cases = [(one, other, alike) for each, one, other, alike in ALIKE if each == kind]
    left, right = (pa.array([case[side] for case in cases], kind) for side in (0, 1))
    assert same(left, right).to_pylist() == [alike for *_, alike in cases]


def test_same_within_a_tolerance() -> None:
    pairs = [(1.0, 1.0 + 1e-10), (1e6, 1e6 + 1e-4), (1e-12, 1e-12 + 1e-22), (1.0, 1.1), (1e-12, 2e-12), (0.0, 1e-300),
             (math.inf, 1.0), (math.inf, -math.inf), (None, 1e-12)]  # fmt: skip
    one, other = (pa.array(side, pa.float64()) for side in zip(*pairs, strict=True))
    right = [None not in pair and math.isclose(*pair, rel_tol=1e-9) for pair in pairs]
    assert same(one, other, 1e-9).to_pylist() == right == [True] * 3 + [False] * 6


# The page -------------------------------------------------------------------------------------------------------


def test_monitoring_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "monitoring.md"), copy_of(demo).directory) == []
