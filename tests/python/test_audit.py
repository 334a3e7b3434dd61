"""Audits of training sets: a gallery of leaks and honest sets, files of other tools, and the command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.dbt import Built
from support.leaks import ACTIVITY, DAILY, DAY, HONEST, HOUR, KEYS, LEAKS, MICROSECOND, ROWS, TIMES, Gallery
from support.pages import DOCS, follow, steps
from support.projects import make_project, run, view

from pit_join import FeatureStore
from pit_join.audit.auc import auc
from pit_join.audit.file_values import FileValues
from pit_join.audit.findings import TrainingSetAudit
from pit_join.errors import PitJoinError

pytestmark = pytest.mark.dbt

FEAST_SETS = Path(__file__).parent / "feast_sets"

# Every way through every form of file in the full run.
FORMS = (".parquet", ".csv") if os.environ.get("TESTS") == "long" else (".parquet",)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return Gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture
def audited(gallery: Gallery, tmp_path: Path) -> Callable[..., TrainingSetAudit]:
    """Write a set to a file and audit it."""

    def audit(made: pd.DataFrame, form: str = ".parquet", **options: Any) -> TrainingSetAudit:
        path = tmp_path / f"set{form}"
        made.to_parquet(path, index=False) if form == ".parquet" else made.to_csv(path, index=False)
        return FeatureStore(gallery.project).audit(path, **{"event_timestamp": "event_timestamp", **options})

    return audit


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LEAKS)
def test_leaks_are_named(name: str, form: str, gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    make, columns, text = LEAKS[name]
    found = audited(make(gallery), form, label="label")
    named = {one.column: one.causes[0].text.split(", or ")[0] for one in found.columns if one.causes}
    named |= {one.column: one.text for one in found.suspects if one.leak}
    assert named == dict.fromkeys(columns, text)
    assert found.found
    assert {one.column for one in found.columns if one.verdict != "ok"} <= set(columns)


@pytest.mark.parametrize("form", [".parquet", ".csv"])
@pytest.mark.parametrize("name", HONEST)
def test_honest_sets_have_no_findings(
    name: str, form: str, gallery: Gallery, audited: Callable[..., TrainingSetAudit]
) -> None:
    found = audited(HONEST[name](gallery), form, label="label")
    assert [(one.column, one.verdict, one.problem) for one in found.columns if one.verdict != "ok"] == []
    assert (found.found, found.suspects) == (False, ())
    assert len(found.columns) >= 2


def test_a_cause_needs_thirty_rows(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    later = gallery.activity_at(gallery.spine.event_timestamp + pd.Timedelta("1D"))
    rows = (later.logins != gallery.honest.logins) & later.logins.notna() & gallery.honest.logins.notna()
    for count, causes in ((29, []), (31, ["equals the value known 1 day later"])):
        some = rows & (rows.cumsum() <= count)
        made = gallery.honest.assign(logins=gallery.honest.logins.mask(some, later.logins))
        (logins,) = (one for one in audited(made).columns if one.column == "logins")
        assert (logins.differing, [cause.text for cause in logins.causes[:1]]) == (count, causes)
        assert logins.verdict == ("leak" if causes else "differs")


def test_a_given_time_zone_and_gap(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    zone = "America/New_York"
    local = gallery.honest.event_timestamp.dt.tz_convert(zone).dt.tz_localize(None)
    made = gallery.honest.assign(event_timestamp=local)
    assert not audited(made, ".csv", time_zone=zone).found
    assert audited(made, ".csv").found
    ahead = gallery.honest.assign(event_timestamp=gallery.honest.event_timestamp + pd.Timedelta("2h"))
    assert not audited(ahead, gap="2 hours").found
    ignored = audited(gallery.honest, gap="2 hours")
    named = {one.causes[0].text.split(", or ")[0] for one in ignored.columns if one.differing > 30}
    assert named == {"the gap is ignored"}


def test_columns_of_other_names(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    made = gallery.honest.rename(columns={"logins": "x1", "spend": "activity__spend", "score": "daily:score"})
    found = audited(made)
    assert {one.column: one.feature for one in found.columns}.items() >= {
        ("activity__spend", "activity:spend"), ("daily:score", "daily:score"), ("grade", "daily:grade"),
    }  # fmt: skip
    assert [(one.column, one.text, one.leak) for one in found.suspects] == [
        ("x1", "is activity:logins under another name", False)
    ]
    assert (found.found, found.missing, found.unknown) == (False, ("activity:logins",), ("label",))
    mapped = audited(made, columns={"x1": "activity:logins"})
    assert ("x1", "activity:logins", "ok") in [(one.column, one.feature, one.verdict) for one in mapped.columns]
    role = audited(made.rename(columns={"user_id": "buyer"}), roles=["activity(user_id=buyer)"])
    assert [one.feature for one in role.columns] == ["activity:spend"]
    assert role.left_out == {
        name: f"the file has no column 'user_id', but has {one}; name the keys with roles=['{name}(user_id=COLUMN)']"
        for name, one in (("daily", "grade"), ("purchases", "purchases_7d"))
    }
    without = audited(made[["user_id", "event_timestamp", "grade"]].rename(columns={"grade": "g"}))
    assert without.left_out == {}
    neither = made[["event_timestamp", "x1"]].assign(user="x")
    assert set(audited(neither).left_out.values()) == {"the file has no column 'user_id'"}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda made: made.drop(columns="event_timestamp"), {}, "has no column 'event_timestamp'; columns: grade"),
        (lambda made: made.assign(user_id=made.user_id.astype(str)), {}, "set.parquet is VARCHAR, and the feature"),
        (lambda made: made.assign(event_timestamp=1), {}, "'event_timestamp' must be a timestamp or date, got int64"),
        (lambda made: made.assign(event_timestamp="soon"), {}, "the texts of the column 'event_timestamp' are not"),
        (lambda made: made, {"time_zone": "Europe/Berlin"}, "have a time zone already (UTC), so time_zone has no"),
        (lambda made: made, {"columns": {"nope": "activity:logins"}}, "the file has no column 'nope'; columns: "),
        (lambda made: made, {"columns": {"logins": "activity:nope"}}, "'activity' has no feature 'nope'; features: "),
        (lambda made: made, {"columns": {"logins": "activity:*"}}, "cannot read the reference 'activity:*'"),
        (lambda made: made, {"label": "nope"}, "has no column 'nope'; columns: "),
        (lambda made: made, {"gap": "soon"}, "gap: cannot read the duration 'soon'"),
        (lambda made: made.assign(LOGINS=1), {}, "it has both 'logins' and 'LOGINS'; rename one of them"),
    ],
)
def test_what_cannot_be_audited(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    options: dict[str, Any],
    message: str,
    gallery: Gallery,
    audited: Callable[..., TrainingSetAudit],
) -> None:
    with pytest.raises(PitJoinError) as caught:
        audited(change(gallery.honest), **options)
    assert message in str(caught.value)


def test_files_of_other_tools(gallery: Gallery, tmp_path: Path) -> None:
    store, made = FeatureStore(gallery.project), gallery.honest
    frame = pl.from_pandas(made)
    frame.write_csv(tmp_path / "polars.csv")
    frame.write_parquet(tmp_path / "polars.parquet")
    frame.write_ipc(tmp_path / "polars.arrow")
    made.to_csv(tmp_path / "german.csv", index=False, sep=";", decimal=",")
    made.to_csv(tmp_path / "na.csv.gz", index=False, na_rep="NaN")
    made.to_csv(tmp_path / "short.csv", index=False, float_format="%.4g")
    made.to_csv(tmp_path / "fixed.csv", index=False, float_format="%.2f")
    for path in sorted(tmp_path.iterdir()):
        found = store.audit(path, event_timestamp="event_timestamp", label="label")
        assert (path.name, [one.column for one in found.columns if one.verdict != "ok"]) == (path.name, [])
        assert len(found.columns) == 6
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "polars.parquet").read_bytes()[:999])
    (tmp_path / "set.xlsx").write_bytes(b"PK")
    for name, message in {
        "cut.parquet": "is it a Parquet file?",
        "set.xlsx": "a file's name ends in .csv, .parquet or .arrow",
        "gone.csv": "does not exist",
    }.items():
        with pytest.raises(PitJoinError, match=message):
            store.audit(tmp_path / name, event_timestamp="event_timestamp")


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The statistics that Feast has joined: as known by the created time, and the newest versions alone."""
    times = "{name: driver_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}"
    created = "{name: created, data_type: timestamptz}"
    rates = "{name: conv_rate, data_type: float}, {name: acc_rate, data_type: float}"
    features = f"{rates}, {{name: avg_daily_trips, data_type: bigint}}"
    keys = "entity: driver, join_keys: [driver_id], ttl: 1 day"
    views = {
        "newest_versions": view(keys, f"{times}, {features}"),
        "as_known": view(f"{keys}, created_timestamp: created", f"{times}, {created}, {features}"),
    }
    project = make_project(tmp_path_factory.mktemp("feast") / "drivers", views)
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create table as_known as from read_parquet('{FEAST_SETS / 'statistics.parquet'}')")
        connection.execute(
            "create table newest_versions as select * exclude (created) from as_known"
            " qualify row_number() over (partition by driver_id, event_timestamp order by created desc) = 1"
        )
    return FeatureStore(project)


@pytest.mark.parametrize(
    ("name", "against", "differing", "cause"),
    [
        ("duckdb_as_known", "as_known", [0, 0, 0], None),
        ("file_as_known", "as_known", [0, 0, 0], None),
        ("duckdb_by_default", "newest_versions", [0, 0, 0], None),
        ("duckdb_by_default", "as_known", [469, 454, 454], "ignores the created time (created)"),
        ("file_by_default", "as_known", [460, 454, 454], "ignores the created time (created)"),
        # Feast's default store has, of some restated rows, a version that is not the newest.
        ("file_by_default", "newest_versions", [38, 0, 0], None),
    ],
)
def test_sets_of_feast(name: str, against: str, differing: list[int], cause: str | None, drivers: FeatureStore) -> None:
    options = {"event_timestamp": "event_timestamp", "label": "label", "features": [f"{against}:*"]}
    found = drivers.audit(FEAST_SETS / f"{name}.parquet", **options)
    assert [one.differing for one in found.columns] == differing
    assert {text for one in found.columns for text in [each.text for each in one.causes] or [None]} == {cause}
    assert (found.found, found.suspects) == (any(differing), ())


@pytest.mark.parametrize(
    ("texts", "expected", "equal"),
    [
        (["1.25", "2.5"], [1.25, 2.5], [True, True]),
        (["1.23", "2.50"], [1.234, 2.496], [True, True]),
        (["1.23", "2.50"], [1.236, 2.494], [False, False]),
        (["1234", "0.001235"], [1234.4, 0.00123456], [True, True]),
        (["3", "4"], [3, 5], [True, False]),
        (["9007199254740993", "1"], [9007199254740992, 1], [False, True]),
        (["0.1", "16777216.0"], [0.10000000149011612, 16777216.0], [True, True]),
        (["True", "false", "NA"], [True, False, None], [True, True, True]),
        (["1,5", "2,25"], [1.5, 2.25], [True, True]),
        (["", "nan"], [None, 1.0], [True, False]),
        (["2026-03-01 00:00:00", "2026-03-01T01:00:00"], "times", [True, True]),
        (["007", "x"], ["007", "y"], [True, False]),
    ],
)
def test_equality_within_the_precision_of_texts(texts: list[str], expected: Any, equal: list[bool]) -> None:
    if expected == "times":
        expected = pa.array([1772323200000000, 1772326800000000], pa.timestamp("us", "UTC"))
    wanted = expected if isinstance(expected, pa.Array) else pa.array(expected)
    values = FileValues(pa.chunked_array([pa.array(texts)]), wanted.type, 1e-9)
    assert (values.problem, values.equal(wanted).tolist()) == (None, equal)


def test_the_auc_by_hand() -> None:
    label = pa.chunked_array([[1, 0, 1, 0, None, 1]])
    nan = float("nan")
    # Of the pairs of 3, 2 (label 1) and 1, 2 (label 0) three are right, and one is equal.
    assert auc(pd.Series([3.0, 1.0, 2.0, 2.0, 9.0, nan]).to_numpy(), label) == 3.5 / 4
    assert auc(pd.Series([1.0] * 6).to_numpy(), label) == 0.5
    assert auc(pd.Series([1.0] * 6).to_numpy(), pa.chunked_array([[1, 2, 3, 4, 5, 6]])) is None


@pytest.mark.rest
def test_the_command(gallery: Gallery, tmp_path: Path) -> None:
    made = gallery.activity_at(gallery.spine.event_timestamp + pd.Timedelta("1D"))
    made["grade"], made["label"] = "\x1b[31mred", (made.logins > 250).astype(int)
    made.rename(columns={"spend": "x\x1b"}).to_parquet(tmp_path / "set.parquet", index=False)
    project = ("--project-dir", str(gallery.project))
    asked = ("audit", str(tmp_path / "set.parquet"), "--event-timestamp", "event_timestamp", *project)
    done = run(*asked, "--map", "x\x1b=activity:spend", "--label", "label")
    assert done.status == 1
    assert "logins: equals the value known 1 day later (100 % of" in done.out
    assert "hint: alone, the column has an AUC of 1.000, and by the rule 0." in done.out
    assert "user_id=" not in done.out
    assert "\x1b" not in done.out
    assert "user_id=" in run(*asked, "--show-keys").out
    found = json.loads(run(*asked, "--json").out)
    assert (found["rows"], found["found"]) == (ROWS, True)
    logins = next(one for one in found["columns"] if one["column"] == "logins")
    assert (logins["verdict"], logins["causes"][0]["leak"], logins["auc"]) == ("leak", True, None)
    logins = next(one for one in json.loads(run(*asked, "--json", "--label", "label").out)["columns"] if one["auc"])
    assert (logins["column"], logins["auc"]["file"], logins["auc"]["rule"] < 1) == ("logins", 1.0, True)
    assert "keys" not in logins["examples"][0]
    assert "not in the project: label; with --label they are held" in run(*asked).out
    assert "have no zone" not in done.out
    honest = tmp_path / "honest.csv"
    gallery.honest[["user_id", "event_timestamp", *DAILY, *ACTIVITY]].to_csv(honest, index=False)
    done = run("audit", str(honest), "--event-timestamp", "event_timestamp", *project)
    assert (done.status, "!" in done.out) == (0, False), done.out
    naive = gallery.honest.assign(event_timestamp=gallery.honest.event_timestamp.dt.tz_localize(None))
    naive.to_csv(honest, index=False)
    said = "the times of event_timestamp have no zone, and are read as UTC; see --time-zone"
    for options, expected in (((), True), (("--time-zone", "UTC"), False)):
        done = run("audit", str(honest), "--event-timestamp", "event_timestamp", *project, *options)
        assert (done.status, said in done.out) == (0, expected), done.out


@pytest.mark.rest
def test_the_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "audit.md"), copy_of(demo).directory) == []


def test_a_cause_of_half_of_the_rows_is_not_a_leak(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    shorter = gallery.window(-4 * pd.Timedelta("1D"), 0 * pd.Timedelta("1D"))
    found = {one.column: one for one in audited(shorter).columns}
    assert [(name, one.verdict) for name, one in found.items()] == [
        ("purchases_7d", "differs"), ("paid_7d", "differs"),
    ]  # fmt: skip


def test_a_mixture_names_what_leaks_in_it(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    make, columns, text = LEAKS["merge_asof forward"]
    leaked, some = make(gallery), gallery.random.random(ROWS) < 0.2
    made = gallery.honest.assign(**{name: gallery.honest[name].mask(some, leaked[name]) for name in columns})
    named = {one.column: one.causes[0].text for one in audited(made).columns if one.causes}
    assert named == dict.fromkeys(columns, text)


def test_restated_rows_with_an_ignored_created_time(gallery: Gallery, tmp_path: Path) -> None:
    """A join that sorts by the created time takes the last version of each event."""
    other = Gallery(tmp_path)
    again = other.activity.assign(
        loaded_at=other.activity.loaded_at + pd.Timedelta("3D"), logins=other.activity.logins + 1000
    )
    with duckdb.connect(str(other.project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'; insert into activity by name select * from again")
    joined = other.merged(again, ACTIVITY)
    joined.to_parquet(tmp_path / "set.parquet", index=False)
    found = FeatureStore(other.project).audit(tmp_path / "set.parquet", event_timestamp="event_timestamp")
    assert found.columns[0].causes[0].text.startswith("ignores the created time (loaded_at), the lag of 6 hours")


def test_zones_are_those_of_the_file(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    made = gallery.honest.assign(event_timestamp=gallery.honest.event_timestamp.dt.tz_localize(None))
    found = audited(made, ".csv", time_zone="America/New_York")
    assert "as if T were the time of UTC (" in found.columns[0].causes[0].text


@pytest.mark.parametrize(
    ("moved", "text"),
    [
        (lambda times: times + 2 * DAY, "equals the value known 2 days later"),
        (lambda times: times + 3 * HOUR, "equals the value known 3 hours later"),
        (
            lambda times: times.map(lambda time: time.floor("D") + DAY * (7 - time.weekday()) - MICROSECOND),
            "equals the value at the end of the week of T",
        ),
        (
            lambda times: times.dt.tz_convert("Asia/Kolkata").dt.tz_localize(None).dt.tz_localize("UTC"),
            "times shifted by a zone: as if the clocks of Asia/Kolkata showed UTC (5.5 h later)",
        ),
        (
            lambda times: times.dt.tz_convert("Europe/Berlin").dt.tz_localize(None).dt.tz_localize("UTC"),
            "times shifted by a zone: as if the clocks of Europe/Berlin showed UTC (1 h or 2 h later)",
        ),
        (
            lambda times: times.dt.tz_localize(None).dt.tz_localize("Asia/Tokyo").dt.tz_convert("UTC"),
            "times shifted by a zone: as if T were the time of Asia/Tokyo (9 h earlier)",
        ),
    ],
)
def test_rarer_times_and_clocks(
    moved: Callable[[Any], Any], text: str, gallery: Gallery, audited: Callable[..., TrainingSetAudit]
) -> None:
    found = audited(gallery.activity_at(moved(gallery.spine.event_timestamp)))
    for one in found.columns:
        named = [part for cause in one.causes for part in cause.text.split(", or ")]
        assert (one.causes[0].share, text in named) == (1, True)
        assert one.leaks == ("later" in text or "end" in text)


def test_what_explains_all_rows_comes_first(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    """Of daily rows the next one is that of the next day, but for the last days of a month without rows."""
    found = audited(LEAKS["next row"][0](gallery))
    assert [(one.text, one.share == 1) for one in found.columns[0].causes] == [
        ("equals the next row, later than T", True),
        ("equals the value known 1 day later", False),
    ]


def test_scaled_columns_are_in_order(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    spend = gallery.honest.spend
    scaled = gallery.honest.assign(spend=(spend - spend.mean()) / spend.std(), logins=-np.log1p(gallery.honest.logins))
    found = audited(scaled)
    assert not found.found
    assert {one.column for one in found.columns if one.precision == "on another scale, in the same order"} == {
        "spend", "logins",
    }  # fmt: skip


def test_target_encoding_with_single_rows_and_the_auc(
    gallery: Gallery, audited: Callable[..., TrainingSetAudit]
) -> None:
    made = gallery.honest.assign(
        group=np.where(gallery.honest.index < 900, gallery.honest.index, -1 - gallery.honest.index % 40)
    )
    made["rate"] = made.groupby("group").label.transform("mean")
    made["nearly"] = made.label + gallery.random.normal(0, 0.2, ROWS)
    found = audited(made, label="label")
    assert [(one.column, one.leak) for one in found.suspects] == [("rate", True), ("nearly", False)]


def test_a_shift_per_key_in_the_file(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    made = gallery.honest.sort_values(["user_id", "event_timestamp"])
    made = made.assign(score=made.groupby("user_id").score.shift(-1)).sample(frac=1, random_state=1)
    score = next(one for one in audited(made).columns if one.column == "score")
    assert score.causes[0].text == "equals the value of the next row of the same user_id in the file"
    assert score.verdict == "leak"


def test_a_constant_is_no_filling_where_other_nulls_stay(
    gallery: Gallery, audited: Callable[..., TrainingSetAudit]
) -> None:
    logins = gallery.honest.logins
    rows = logins.isna() & (gallery.random.random(ROWS) < 0.7)
    (found,) = (
        one for one in audited(gallery.honest.assign(logins=logins.mask(rows, 1))).columns if one.column == "logins"
    )
    assert (found.differing, found.filled) == (rows.sum(), None)


def test_a_feature_of_rare_values_is_not_explained_by_chance(tmp_path: Path) -> None:
    """A broken join leaves zeros; nearly all answers at other times are zero, too."""
    other = Gallery(tmp_path)
    with duckdb.connect(str(other.project / "warehouse.duckdb")) as connection:
        connection.execute("update daily set score = (hash(score) % 20 = 0)::int")
        daily = connection.execute("select * from daily").df()
    daily["event_timestamp"] = daily.event_timestamp.astype(other.spine.event_timestamp.dtype)
    made = other.merged(daily, ["score"], allow_exact_matches=False)
    made["score"] = made.score.mask(made.score == 1, 0)
    made.to_parquet(tmp_path / "set.parquet", index=False)
    found = FeatureStore(other.project).audit(tmp_path / "set.parquet", event_timestamp="event_timestamp")
    assert [(one.verdict, one.causes) for one in found.columns] == [("differs", ())]
    assert found.columns[0].differing > 50


def test_an_index_is_no_counter_of_days(gallery: Gallery, tmp_path: Path) -> None:
    """Of one entity a number per day is, a row later, the number of the row."""
    columns = f"{TIMES}, {{name: days_open, data_type: bigint}}, {{name: score, data_type: double}}"
    project = make_project(tmp_path / "days", {"daily": view(KEYS, columns)})
    days = pd.date_range("2025-01-01", periods=300, freq="D", tz="UTC").as_unit("us")
    history = pd.DataFrame({"user_id": 1, "event_timestamp": days, "days_open": range(300)})
    history["score"] = gallery.random.normal(0, 1, 300)
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'; create table daily as from history")
    made = history.drop(columns="days_open").assign(id=range(1, 301), event_timestamp=days + 12 * HOUR)
    for rows in (made, made[::-1], made.sample(frac=1, random_state=1), made.sample(frac=0.8, random_state=1)):
        rows.to_parquet(tmp_path / "set.parquet", index=False)
        found = FeatureStore(project).audit(tmp_path / "set.parquet", event_timestamp="event_timestamp")
        assert (found.found, found.suspects, found.unknown) == (False, (), ("id",))


def test_a_feature_of_the_next_row_that_is_often_null_in_the_first(
    gallery: Gallery, audited: Callable[..., TrainingSetAudit]
) -> None:
    made = gallery.honest.sort_values(["user_id", "event_timestamp"])
    made["next_spend"] = made.groupby("user_id").spend.shift(-1)
    assert made.groupby("user_id").spend.head(1).isna().mean() > 0.05
    assert [(one.column, one.text) for one in audited(made).suspects] == [
        ("next_spend", "equals spend in the next row of the same user_id, later than T")
    ]


def test_the_first_value_of_all_is_no_filling(gallery: Gallery, tmp_path: Path) -> None:
    """Of one entity, whose history begins after some labels, pandas' bfill is a constant."""
    project = make_project(tmp_path / "one", {"daily": view(KEYS, f"{TIMES}, {{name: score, data_type: double}}")})
    history = gallery.daily[gallery.daily.user_id == 1].drop(columns="grade")
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'; create table daily as from history")
    spine = gallery.spine.assign(user_id=1, event_timestamp=gallery.spine.event_timestamp - 20 * DAY)
    joined = gallery.merged(history, ["score"], spine).sort_values("event_timestamp")
    for filled, leaks in ((joined.score.bfill(), True), (joined.score.fillna(0.0), False)):
        joined.assign(score=filled).to_parquet(tmp_path / "set.parquet", index=False)
        found = FeatureStore(project).audit(tmp_path / "set.parquet", event_timestamp="event_timestamp")
        assert (found.columns[0].leaks, found.found, found.columns[0].filled is None) == (leaks, leaks, leaks)
        assert (found.columns[0].differing == joined.score.isna().sum()) == leaks


def test_an_empty_column_has_no_cause(gallery: Gallery, audited: Callable[..., TrainingSetAudit]) -> None:
    (column,) = (one for one in audited(gallery.honest.assign(score=np.nan)).columns if one.column == "score")
    known = int(gallery.honest.score.notna().sum())
    assert (column.verdict, column.problem) == ("not compared", f"it is empty, and the rule has {known:,} values")


@pytest.mark.parametrize("event_key", [False, True])
def test_windows_of_the_state_of_today(event_key: bool, tmp_path: Path) -> None:
    """Events of a day at one time, known later, and maybe restated: a join of the table as it is today."""
    declared = "created_timestamp: loaded_at" + (", event_key: id, deleted: gone" if event_key else "")
    aggregations = (
        "{name: n_7d, function: count, window: 7 days}, {name: sum_7d, function: sum, column: x, window: 7 days}"
    )
    project = make_project(
        tmp_path / "today",
        {
            "sales": view(
                f"{KEYS}, {declared}, aggregations: [{aggregations}]",
                f"{TIMES}, {{name: loaded_at, data_type: timestamptz}}, {{name: id, data_type: bigint}}, "
                "{name: gone, data_type: boolean}, {name: x, data_type: double}",
            )
        },
    )
    versions = 2 if event_key else 1
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            "create table sales as select i % 5 as user_id, timestamptz '2026-01-01' + to_days((i * 7 % 90)::int) as"
            " event_timestamp, event_timestamp + to_hours((version * 48 + i * 13 % 96)::int) as loaded_at, i as id,"
            " version = 1 and i % 4 = 0 as gone, (i * 31 % 997 + version)::double as x"
            f" from range(3000) as events (i), range({versions}) as numbers (version)"
        )
        connection.execute(
            "create table asked as select i, i % 5 as user_id,"
            " timestamptz '2026-01-10' + to_minutes((i * 7919 % 100000)::int) as t from range(600) as rows (i)"
        )
        connection.execute(
            "copy (select any_value(asked.user_id) as user_id, any_value(t) as event_timestamp,"
            " count(sales.x) as n_7d, sum(sales.x) as sum_7d from asked"
            " left join (from sales qualify row_number() over (partition by id order by loaded_at desc) = 1) as sales"
            " on asked.user_id = sales.user_id and event_timestamp >= t - interval 7 days and event_timestamp < t"
            f" and not gone group by asked.i) to '{tmp_path}/set.parquet'"
        )
    found = FeatureStore(project).audit(tmp_path / "set.parquet", event_timestamp="event_timestamp")
    for one in found.columns:
        assert [(cause.text, cause.share) for cause in one.causes] == [("ignores the created time (loaded_at)", 1)]


def test_honest_columns_beside_features_are_not_suspects(
    gallery: Gallery, audited: Callable[..., TrainingSetAudit]
) -> None:
    made = gallery.honest.sort_values(["user_id", "event_timestamp"])
    amount = pd.Series(gallery.random.normal(10, 3, ROWS), made.index)
    by_user = made.assign(amount=amount).groupby("user_id")
    made = made.assign(
        amount=amount,
        amount_before=by_user.amount.shift(1),
        order=np.arange(ROWS),
        label_before=by_user.label.shift(1),
        rare=gallery.random.random(ROWS) < 0.02,
    )
    assert audited(made, label="label").suspects == ()
    # The index of a data frame, whole, in another order, or of a part of its rows.
    for rows in (made, made.sample(frac=1, random_state=1), made.sample(frac=0.8, random_state=1)):
        assert audited(rows.rename(columns={"order": "id"}), label="label").suspects == ()
    rare = made.assign(label=(gallery.random.random(ROWS) < 0.01).astype(int), zero=0)
    assert audited(rare, label="label").suspects == ()


def test_odd_values_and_options(gallery: Gallery, tmp_path: Path) -> None:
    store, path = FeatureStore(gallery.project), tmp_path / "set.parquet"
    gallery.honest.to_parquet(path, index=False)
    asked = {"event_timestamp": "event_timestamp"}
    gallery.honest.assign(x=1).to_parquet(tmp_path / "two.parquet", index=False)
    both = {"x": "activity:logins", "logins": "activity:logins"}
    with pytest.raises(PitJoinError, match="both 'x' and 'logins' are said to be activity:logins"):
        store.audit(tmp_path / "two.parquet", columns=both, **asked)
    for tolerance in ("x", None, -1, float("nan")):
        with pytest.raises(PitJoinError, match="the tolerance is a number from 0 on"):
            store.audit(path, tolerance=tolerance, **asked)
    far = pa.table({"user_id": [1], "event_timestamp": pa.array([10**17], pa.timestamp("s")), "logins": [1]})
    with pa.OSFile(str(tmp_path / "far.arrow"), "wb") as file, pa.ipc.new_file(file, far.schema) as writer:
        writer.write_table(far)
    with pytest.raises(PitJoinError, match="the times of 'event_timestamp' cannot be read"):
        store.audit(tmp_path / "far.arrow", **asked)


def test_naive_times_and_empty_texts_as_features(tmp_path: Path) -> None:
    columns = "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}"
    more = f"{columns}, {{name: seen, data_type: timestamp}}, {{name: note, data_type: varchar}}"
    project = make_project(tmp_path / "shop", {"visits": view("entity: user, join_keys: [user_id]", more)})
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute(
            "set TimeZone = 'UTC'; create table visits as select user_id, timestamptz '2026-01-01 00:00+00' as "
            "event_timestamp, timestamp '2026-01-01 12:34:56' as seen, '' as note from range(50) as r(user_id)"
        )
    for ending in ("parquet", "csv"):
        with duckdb.connect() as connection:
            connection.execute(
                "copy (select user_id, timestamp '2026-02-01' as event_timestamp, timestamp '2026-01-01 12:34:56' as "
                f"seen, '' as note from range(50) as r(user_id)) to '{tmp_path / 'set'}.{ending}'"
            )
        found = FeatureStore(project).audit(tmp_path / f"set.{ending}", event_timestamp="event_timestamp")
        assert [(one.column, one.verdict) for one in found.columns] == [("seen", "ok"), ("note", "ok")]


def test_a_later_value_in_the_same_order_is_a_leak(tmp_path: Path) -> None:
    """A value that only grows with time is in the order of the rule's values at any other time, too."""
    columns = "{name: event_timestamp, data_type: timestamptz}, {name: total, data_type: bigint}"
    project = make_project(tmp_path / "shop", {"totals": view("join_keys: []", columns)})
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute(
            "set TimeZone = 'UTC'; create table totals as select timestamptz '2026-01-01' + to_hours(h::int) as "
            "event_timestamp, h * 7 + h % 5 as total from range(2000) as r(h)"
        )
        connection.execute(
            "copy (select timestamptz '2026-01-02' + to_hours(2 * n::int) as event_timestamp, (2 * n + 48) * 7 + "
            f"(2 * n + 48) % 5 as total from range(800) as r(n)) to '{tmp_path / 'set.parquet'}'"
        )
    (total,) = FeatureStore(project).audit(tmp_path / "set.parquet", event_timestamp="event_timestamp").columns
    assert (total.verdict, total.causes[0].text) == ("leak", "equals the value known 1 day later")
