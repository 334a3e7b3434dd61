"""The commands on a PostgreSQL warehouse, beside the same project on DuckDB: what they say and make is equal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from servers import running, valkey_binary
from support.postgres import built_shop, profile, running_postgres
from support.projects import run
from support.two_engines import LABELS, NOW, SPINES, UNORDERED, unlike

from pit_join import FeatureStore
from pit_join.errors import PitJoinError, RequestError, SpineError, WarehouseError

pytestmark = [pytest.mark.dbt, pytest.mark.rest]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="module")
def shop(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_shop(url, tmp_path_factory.mktemp("shop") / "shop")


def store(shop: Path, target: str) -> FeatureStore:
    return FeatureStore(shop, target=target, online_store=shop / "online" / target)


@pytest.mark.parametrize("spine", SPINES)
def test_training_sets_are_equal(shop: Path, spine: str) -> None:
    one, other = (
        store(shop, target).get_historical_features(SPINES[spine], "everything", provenance=True)
        for target in ("server", "file")
    )
    order = list(LABELS.columns) if spine in UNORDERED else None
    assert not unlike(one.to_arrow(), other.to_arrow(), order)[:5]
    assert [each.statuses for each in one.coverage] == [each.statuses for each in other.coverage]


def test_no_query_has_on_demand_features(shop: Path) -> None:
    with pytest.raises(RequestError, match="no query of the warehouse has on-demand features, which DuckDB computes"):
        store(shop, "server").prepare_training_set("labels", "everything").sql()


@pytest.mark.parametrize(
    "options",
    [
        {"gap": "1 day"},
        {"defaults": False},
        {"features": ["activity:plan", "friend:*"], "roles": ["friend=activity(user_id=friend_id)"]},
        {"features": ["facts:tier", "rates:rate"], "full_feature_names": True},
    ],
)
def test_options_mean_the_same(shop: Path, options: dict[str, Any]) -> None:
    asked = {"features": "everything", **options}
    spine = LABELS.assign(friend_id=LABELS["user_id"].shift(1))
    found, wanted = (
        store(shop, target).get_historical_features(spine, **asked).to_arrow() for target in ("server", "file")
    )
    assert not unlike(found, wanted)[:5]


@pytest.mark.parametrize(
    ("feature", "warned"), [("score_7d", True), ("most", True), ("total_7d", False), ("seen_7d", False)]
)
def test_windows_of_many_pairs_are_said(
    shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, feature: str, warned: bool
) -> None:
    for many, said in ((1e-9, warned), (1e9, False)):
        monkeypatch.setattr("pit_join.training.joins._MANY_PAIRS", many)
        for target in ("server", "file"):
            caplog.clear()
            store(shop, target).get_historical_features(SPINES["model"], [f"events:{feature}"])
            assert ("pairs" in caplog.text) == (said and target == "server"), caplog.text


def test_a_set_is_written_described_and_compared(shop: Path) -> None:
    for target in ("server", "file"):
        done = run(
            *("--project-dir", str(shop), "--target", target, "build-training-set", "--spine", "labels"),
            *("--service", "everything", "--output", str(shop / f"{target}.parquet")),
        )
        assert done.status == 0, done.err
    assert not unlike(*(pq.read_table(shop / f"{t}.parquet").replace_schema_metadata() for t in ("server", "file")))
    audited = run("--project-dir", str(shop), "audit", str(shop / "server.parquet"))
    assert audited.status == 0, audited.out + audited.err


@pytest.mark.parametrize("kind", ["embedded", "valkey"])
def test_an_export_is_what_the_rule_says(shop: Path, kind: str, tmp_path: Path) -> None:
    def check(where: Any) -> None:
        features = FeatureStore(shop, online_store=where)
        written = features.export(as_of=datetime(2026, 3, 1, tzinfo=timezone.utc))
        assert sum(each.written for each in written.views.values()) > 200
        found = features.verify()
        assert (found.found, found.values > 1000) == (0, True)
        here, there = (
            FeatureStore(shop, target=target, online_store=where).online_reader("everything")
            for target in ("server", "file")
        )
        rows = [{"user_id": f"u{number}"} for number in range(70)]
        now = datetime(2026, 3, 1, 1, tzinfo=timezone.utc)
        assert here.get_online_features(rows, now=now).to_dict() == there.get_online_features(rows, now=now).to_dict()

    if kind == "embedded":
        check(tmp_path / "online")
        return
    with running(valkey_binary(), tmp_path) as server:
        check(server.url)


def test_a_changed_row_is_found(shop: Path, url: str, tmp_path: Path) -> None:
    features = FeatureStore(shop, online_store=tmp_path / "online")
    features.export(as_of=datetime(2026, 3, 1, tzinfo=timezone.utc))
    change = "update shop.activity set logins = logins + {} where user_id = 'u1'"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change.format(1))
        try:
            assert {each.feature for each in features.verify().differences} == {"logins"}
        finally:
            connection.execute(change.format(-1))
    assert features.verify().found == 0


@pytest.mark.parametrize("feature", ["activity:logins", "events:total_7d", "facts:tier"])
def test_explanations_are_equal(shop: Path, feature: str) -> None:
    said = [
        store(shop, target).explain(feature, {"user_id": "u1"}, "2026-02-01").as_json() for target in ("server", "file")
    ]
    for each in said:
        each.pop("online", None)
    assert said[0] == said[1]


def test_commands_that_look(shop: Path) -> None:
    commands = [
        ["views"],
        ["check"],
        ["monitor", "--check", "freshness,rates", "--now", NOW],
        ["monitor", "--check", "drift", "--now", NOW, "--baseline-as-of", "2026-02-01"],
        ["build-training-set", "--spine", "labels", "--service", "everything", "--explain-plan"],
    ]
    for command in commands:
        server, file = (run("--project-dir", str(shop), "--target", each, *command) for each in ("server", "file"))
        assert server.status == file.status, server.err
        if command[0] in ("views", "monitor"):
            assert server.out.replace("target server", "target file") == file.out
    report = run("--project-dir", str(shop), "report", "--output", str(shop / "report.html"))
    assert report.status == 0, report.err
    assert "activity" in (shop / "report.html").read_text()


def test_microbatches_are_filled(shop: Path) -> None:
    for target in ("server", "file"):
        options = ("--project-dir", str(shop), "--target", target, "backfill", "--end", "2026-04-01")
        applied = run(*options, "--apply")
        assert applied.status == 0, applied.err
        assert "nothing to do" in run(*options, "--dry-run").out
    spine = LABELS[["user_id", "event_timestamp"]]
    found, wanted = (
        store(shop, target).get_historical_features(spine, ["days:*"]).to_arrow() for target in ("server", "file")
    )
    assert not unlike(found, wanted)[:5]
    assert found["total_7d"].null_count < len(found) / 2


def test_a_replay_is_refused(shop: Path) -> None:
    done = run("--project-dir", str(shop), "audit", "--replay")
    assert (done.status, "is of type postgres" in done.err) == (2, True)


# Errors -----------------------------------------------------------------------------------------------------------


def another(shop: Path, folder: Path, url: str, **more: Any) -> FeatureStore:
    """The project with other settings of the server."""
    shutil.copytree(shop, folder, ignore=shutil.ignore_patterns("online", "*.duckdb", "target"))
    (folder / "profiles" / "profiles.yml").write_text(profile(url, **more))
    return FeatureStore(folder)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"port": 1}, "the PostgreSQL database postgres on 127.0.0.1 cannot be used: .*refused"),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody", "password": "secret-word"}, 'role "nobody" does not exist'),
        ({"role": "nobody"}, 'role "nobody" does not exist'),
        ({"sslmode": "require"}, "SSL"),
        ({"hots": "x"}, "the target 'server': hots: unknown key; did you mean 'host'"),
        ({"host": None}, "the target 'server': host: is missing"),
    ],
)
def test_a_server_that_cannot_be_used(shop: Path, tmp_path: Path, url: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(PitJoinError, match=says) as caught:
        another(shop, tmp_path / "shop", url, **more).export()
    assert "secret-word" not in str(caught.value)
    assert caught.value.exit_status == (2 if "unknown key" in says or "missing" in says else 3)


def test_a_role_without_the_rights(shop: Path, tmp_path: Path, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create role reader login")
        connection.execute("revoke temporary on database postgres from public")
        try:
            features = another(shop, tmp_path / "shop", url, user="reader")
            with pytest.raises(WarehouseError, match=r"permission denied.*grant it to the role"):
                features.export()
            connection.execute("grant usage on schema shop to reader")
            connection.execute("grant select on all tables in schema shop to reader")
            features.export()  # which needs no temporary table
            with pytest.raises(WarehouseError, match=r"permission denied to create temporary tables.*grant it"):
                features.get_historical_features(LABELS, ["activity:*"])
        finally:
            connection.execute("grant temporary on database postgres to public")
            connection.execute("drop owned by reader")
            connection.execute("drop role reader")


def test_what_was_never_built_is_said(shop: Path, tmp_path: Path, url: str) -> None:
    features = another(shop, tmp_path / "shop", url, schema="empty")
    with pytest.raises(WarehouseError, match=r"the table of the feature view 'activity' cannot be read; run dbt build"):
        features.get_historical_features(LABELS, ["activity:*"])


def test_a_table_that_is_built_anew_meanwhile(shop: Path, url: str) -> None:
    """In a snapshot from before, the rows of a table that was made after it are not there: it would look empty."""
    features = store(shop, "server")
    anew = (
        "begin; create table shop.activity_new as table shop.activity; drop table shop.activity; "
        "alter table shop.activity_new rename to activity; commit"
    )
    with features._workspace().warehouse() as warehouse, psycopg.connect(url, autocommit=True) as connection:
        warehouse.views.hold(['"postgres"."shop"."events"'])
        warehouse.views.rows_later("select count(*) from shop.events", "").result()  # takes the snapshot
        connection.execute("drop view if exists shop.activity_view")
        connection.execute(anew)  # type: ignore[arg-type]
        with pytest.raises(WarehouseError, match="was built anew while the command ran; run the command again"):
            warehouse.views.hold(['"postgres"."shop"."activity"'])
    assert len(features.get_historical_features(LABELS, ["activity:*"]).to_arrow()) == len(LABELS)


def test_infinite_times_come_back_as_they_are(shop: Path) -> None:
    query = (
        "select 'infinity'::timestamptz a, '-infinity'::timestamp b, 'infinity'::date c, '-infinity'::date d, "
        "timestamptz '0044-03-15 BC' e, now() - now() f"
    )
    with store(shop, "server")._workspace().warehouse() as warehouse:
        warehouse.give("found", warehouse.views.table_later([query], "").result())
        row = warehouse.row(
            "select a = 'infinity' a, b = '-infinity' b, c = 'infinity' c, d = '-infinity' d, e from found", ""
        )
    assert (row["a"], row["b"], row["c"], row["d"]) == (True, True, True, True)
    assert "BC" in str(row["e"])


def test_a_spine_of_numerics_without_digits(shop: Path, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create or replace view shop.label_view as select *, 1.5::numeric as odd from shop.labels")
    try:
        with pytest.raises((SpineError, WarehouseError), match="'odd' is numeric without a number of digits; cast it"):
            store(shop, "server").get_historical_features("label_view", ["activity:*"])
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop view shop.label_view")
            connection.execute("create view shop.label_view as select * from shop.labels")


def test_no_connection_stays_open(shop: Path, url: str) -> None:
    features = store(shop, "server")
    features.get_historical_features(LABELS, ["activity:*"])
    with pytest.raises(PitJoinError):
        features.get_historical_features(LABELS.rename(columns={"user_id": "id"}), ["activity:*"])
    with psycopg.connect(url, autocommit=True) as connection:
        ours = "select count(*) from pg_stat_activity where application_name = 'pit-join'"
        (number,) = connection.execute(ours).fetchone() or (None,)
    assert number == 0
