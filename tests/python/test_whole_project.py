"""A dbt project as teams have it, in `tests/projects/whole`, from `dbt build` to the online store.

It has versions, snapshots, schemas, aliases, attached databases, a package and more. The expected values are those of
the oracles for the raw rows in the project's CSV files, which are read here by plain Python.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import window_oracle
from support.dbt import ROOT, manifest_of
from support.forks import programs
from support.projects import run
from support.runs import LONG, sampled

from pit_join import FeatureStore, ProjectError
from pit_join.definitions.registry import Registry
from pit_join.history.fingerprints import Fingerprints
from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Renderer

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

SOURCE = ROOT / "tests/projects/whole"
ZONES = ("America/New_York", "Asia/Kolkata", "UTC")
PINNED = "      settings:\n        TimeZone: UTC\n"
# What is built on the first day, and on the second, when the customers and the visits have changed.
EVERYTHING: tuple[list[str], list[str]] = ([], ["--selector", "changed"])
SNAPSHOTS = ["--select", "tiers", "+cities"]
# The copies: the time zone of their machine, and whether their profile pins UTC. The first one has everything.
PLACES = [*itertools.product(ZONES, (True, False))] if LONG else [(ZONES[0], True), (ZONES[1], False)]


# The project, built on machines in three time zones -----------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """The project after two runs of dbt, the second of them a day later; `runs` are the times before and after each."""

    directory: Path
    parsed: Path
    runs: list[datetime]

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.directory, online_store=self.directory / "online")


DBT = """
import pickle, sys
from pathlib import Path
from support.dbt import failures, run_dbt, unpickled

place, parsed, *arguments = sys.argv[1:]
done = run_dbt(Path(place), *arguments, manifest=unpickled(Path(parsed)) if Path(parsed).exists() else None)
if not done.success:
    sys.exit(str(failures(done)))
if arguments == ["parse"]:
    Path(parsed).write_bytes(pickle.dumps(done.result))
"""


def start_dbt(
    directory: Path, parsed: Path, *arguments: str, zone: str = "UTC", pinned: bool = True
) -> subprocess.Popen[bytes]:
    """Start dbt on a machine in a time zone, with what was parsed; the first to parse does it for all.

    DuckDB takes the zone when it is opened, but DuckDB 1 when it is imported, as it is in the process that forks. Then
    a project that pins no zone needs a process of its own.
    """
    own = not pinned and duckdb.__version__.startswith("1.")
    program = sys.executable if own else str(programs() / "python")
    return subprocess.Popen(
        [program, "-c", DBT, directory, parsed, *arguments], cwd=ROOT / "tests/python",
        env={**os.environ, "TZ": zone, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
    )  # fmt: skip


def copy_project(directory: Path, pinned: bool) -> Path:
    """The project with its packages, as `dbt deps` would leave it, and the files that others have written for it."""
    shutil.copytree(SOURCE, directory)
    (directory / "packages.yml").unlink()
    shutil.copytree(ROOT / "pit_join/dbt_package", directory / "dbt_packages/pit_join")
    (directory / "packages/loyalty").rename(directory / "dbt_packages/loyalty")
    (directory / "exports").mkdir()
    if not pinned:
        profile = directory / "profiles/profiles.yml"
        assert PINNED in profile.read_text()
        profile.write_text(profile.read_text().replace(PINNED, ""))
    time = pa.timestamp("us", "UTC")
    types = [("arrived", pa.int32()), *((name, pa.string()) for name in ("visit_id", CUSTOMER, "page"))]
    schema = pa.schema([*types, ("seconds", pa.int32()), ("seen_at", time), ("landed_at", time)])
    for day in (1, 2):
        arrived = [row for row in visits() if row["arrived"] <= day]
        pq.write_table(pa.Table.from_pylist(arrived, schema), directory / f"data/visits_{day}.parquet")
    return directory


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Whole]:
    folder = tmp_path_factory.mktemp("whole")
    parsed = folder / "parsed"
    copies = {(zone, pinned): copy_project(folder / zone / str(pinned), pinned) for zone, pinned in PLACES}
    first = copies[PLACES[0]]
    assert start_dbt(first, parsed, "parse").wait() == 0
    own = {"env_vars": {}, "unused_entries": []}  # what pit-join adds to dbt's manifest
    manifest = json.dumps(json.loads((first / "target/manifest.json").read_text()) | own)
    runs = []
    for day in (1, 2):
        for copy in copies.values():
            shutil.copy(copy / f"data/visits_{day}.parquet", copy / "data/visits.parquet")
            with duckdb.connect(str(copy / "crm.duckdb")) as crm:
                crm.execute((copy / f"data/crm_{day}.sql").read_text())
        runs.append(datetime.now(timezone.utc))
        started = []
        for (zone, pinned), copy in copies.items():
            selected = EVERYTHING[day - 1] if copy == first else SNAPSHOTS
            started.append(start_dbt(copy, parsed, "build", *selected, zone=zone, pinned=pinned))
        assert [process.wait() for process in started] == [0] * len(started)
        runs.append(datetime.now(timezone.utc))
    for copy in copies.values():
        path = manifest_of(Project(copy))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest.replace(json.dumps(str(first)), json.dumps(str(copy))))
    return {place: Whole(copy, parsed, runs) for place, copy in copies.items()}


@pytest.fixture(scope="module")
def whole(built: dict[tuple[str, bool], Whole]) -> Whole:
    return built[PLACES[0]]


@pytest.fixture(scope="module")
def filled(whole: Whole) -> Whole:
    """The same with its stored histories."""
    before = run("backfill", "--dry-run", "--json", cwd=whole.directory)
    assert {one["model"]: (one["batches"], one["to_run"]) for one in json.loads(before.out)["models"]} == {
        # The last purchase, of the 6th at 12:00, leaves its window of 2 days on the 8th.
        "purchase_history": (8, 8),
        "visit_days": (6, 6),
    }
    done = run("backfill", "--apply", cwd=whole.directory)
    assert done.status == 0, done.err
    after = run("backfill", "--dry-run", cwd=whole.directory)
    assert after.out.count("nothing to do") == 2, after.out
    return whole


# The raw rows, and what the feature views hold of them by plain Python ----------------------------------------------


def raw(name: str, delimiter: str = ",", **types: Callable[[str], Any]) -> list[dict[str, Any]]:
    """The rows of a CSV file of the project; an empty value is None, and a column without a type is text."""
    with (SOURCE / name).open() as file:
        return [
            {column: types.get(column, str)(text) if text else None for column, text in row.items()}
            for row in csv.DictReader(file, delimiter=delimiter)
        ]


def instant(text: str) -> datetime:
    """An instant in UTC; Python 3.10 reads offsets only with minutes."""
    found = datetime.fromisoformat(f"{text}:00" if text[-3] == "+" else text)
    return found.astimezone(timezone.utc) if found.tzinfo else found


def boolean(text: str) -> bool:
    return text == "true"


def decimal(places: int) -> Callable[[str], Decimal]:
    return lambda text: round(Decimal(text), places)


def visits() -> list[dict[str, Any]]:
    return raw("data/visits.csv", arrived=int, seconds=int, seen_at=instant, landed_at=instant)


def purchases(*tests: str) -> list[dict[str, Any]]:
    """The purchases of all customers but those that are tests; `000` always is one."""
    rows = raw(
        "seeds/raw_purchases.csv",
        cents=int,
        bought_at=instant,
        recorded_at=instant,
        cancelled=boolean,
    )
    return [row for row in rows if row["customer_id"] not in ("000", *tests)]


def spine() -> list[dict[str, Any]]:
    rows = raw("seeds/moments.csv", ";", event_timestamp=instant, **{"Store Id": int})
    return [{**row, "is_last": row["label"] == "last"} for row in rows]


def view(name: str, keys: str | tuple[str, ...], at: str | None, *features: str, **settings: Any) -> oracle.View:
    return oracle.View(name, (keys,) if isinstance(keys, str) else keys, at, features, **settings)


COUNTS = ("bought_1d", "bought_lifetime", "spent_2d")
CUSTOMER, COUNTRY = "customer_id", "Country Code"
BALANCES = [
    {CUSTOMER: customer, "at": at, "balance": Decimal(balance), "live_balance": Decimal(balance)}
    for customer, at, balance in (
        ("007", datetime(2026, 3, 1), "10.50"),
        ("007", datetime(2026, 3, 4), "-3.00"),
        ("042", datetime(2026, 3, 4, 12), "8.00"),
    )
]
VIEWS: Mapping[str, tuple[oracle.View, list[dict[str, Any]]]] = {
    one.name: (one, rows)
    for one, rows in (
        (view("activity", CUSTOMER, "seen_at", "page", created_timestamp="landed_at"), visits()),
        (
            view("activity_v2", CUSTOMER, "seen_at", "page", "seconds", created_timestamp="landed_at"),
            [{**row, "page": row["page"].upper()} for row in visits()],
        ),
        (
            view(
                "last_purchase", CUSTOMER, "bought_at", "order", "cents", created_timestamp="recorded_at",
                deleted="cancelled", ttl=timedelta(days=3), defaults={"cents": 0},
            ),
            [{**row, "order": row["sku"]} for row in purchases()],
        ),
        (view("visit_log", CUSTOMER, "seen_at", "logged_page", inclusive=False),
         [{**row, "logged_page": row["page"]} for row in visits()]),
        (view("scores", CUSTOMER, "recorded_at", "score"),
         [{**row, "score": (row["cents"] or 0) / 100} for row in purchases()]),
        (view("segments", CUSTOMER, "recorded_at", "segment", defaults={"segment": "unknown"}),
         [{**row, "segment": row["cents"] and ("big" if row["cents"] >= 500 else "small")} for row in purchases()]),
        (view("balances", CUSTOMER, "at", "balance", ttl=timedelta(hours=36)), BALANCES),
        (view("live_visits", CUSTOMER, "seen_at", "live_page"),
         [{**row, "live_page": row["page"]} for row in visits()]),
        (view("live_balances", CUSTOMER, "at", "live_balance"), BALANCES),
        (view("consents", CUSTOMER, "given_at", "channel", deleted="withdrawn"), [
            {**row, CUSTOMER: row["CustomerID"]}
            for row in raw("seeds/raw_consents.csv", given_at=instant, withdrawn=boolean)
        ]),
        (
            view(
                "rates", (), "Day", "Rate", created_timestamp="known_at", ttl=timedelta(days=3),
                defaults={"Rate": Decimal("1.0000")},
            ),
            raw("seeds/rates.csv", Day=date.fromisoformat, known_at=instant, Rate=decimal(4)),
        ),
        (view("shops", "Store Id", None, "town", "Area", defaults={"Area": 0}),
         raw("seeds/shops.csv", Area=int, **{"Store Id": int})),
        (view("stock", ("Store Id", "SKU"), "as_of", "On Hand", defaults={"On Hand": 0}), [
            {**row, "Store Id": row["store_id"], "SKU": row["sku"], "On Hand": row["on_hand"]}
            for row in raw("data/stock.csv", store_id=int, as_of=instant, on_hand=int)
        ]),
        # The package has variables of its own: to it 888 is a test, too.
        (view("points", CUSTOMER, "recorded_at", "points"),
         [{**row, "points": row["cents"] and row["cents"] // 100} for row in purchases("888")]),
        (view("home", COUNTRY, "Valid From", "name", "Vat Rate", defaults={"Vat Rate": Decimal("0.00")}),
         raw("seeds/countries.csv", **{"Valid From": date.fromisoformat, "Vat Rate": decimal(2)})),
        (view("regions", COUNTRY, "at", "region"), [
            {COUNTRY: code, "at": datetime(2026, 3, 1), "region": "north" if code == "NO" else "south"}
            for code in ("NO", "IT")
        ]),
    )
}  # fmt: skip
WINDOWS = window_oracle.WindowView(
    "purchases", (CUSTOMER,), "bought_at",
    ("purchase_id", "customer_id", "cents", "bought_at", "recorded_at", "cancelled"),
    (
        window_oracle.Aggregation("bought_1d", "count", window=timedelta(days=1)),
        window_oracle.Aggregation("bought_lifetime", "count"),
        window_oracle.Aggregation("spent_2d", "sum", "cents", timedelta(days=2), default=0),
    ),
    created_timestamp="recorded_at", closed="right", event_key=("purchase_id",), deleted="cancelled",
)  # fmt: skip


def answers(row: Mapping[str, Any]) -> Iterator[tuple[str, oracle.Answer]]:
    """What each view says of a row of the spine, by the oracles."""
    for name, (one, rows) in VIEWS.items():
        keys = {COUNTRY: "Country"} if one.keys == (COUNTRY,) else {}
        request = oracle.Request(one, one.features, name, keys)
        found = oracle.look_up(request, row, rows, "event_timestamp", timedelta(0))
        yield name, oracle.with_defaults(found, one)
    versions = window_oracle.current_versions(WINDOWS, purchases())
    asked: Any = oracle.Request(WINDOWS, COUNTS)
    found = window_oracle.look_up(asked, row, versions, "event_timestamp", timedelta(0))
    yield "purchases", oracle.with_defaults(found, WINDOWS)


def ratio(points: int | None, cents: int | None) -> float:
    return -1.0 if points is None or not cents else points * 100.0 / cents


def expected(row: Mapping[str, Any]) -> dict[str, Any]:
    """All features of a row of the spine by their full names, with provenance."""
    found: dict[str, Any] = {}
    for name, answer in answers(row):
        found |= {f"{name}__{feature}": value for feature, value in answer.values.items()}
        found |= {f"{name}__status": answer.status.value, f"{name}__event_timestamp": answer.event_time}
    points, cents = found["points__points"], found["last_purchase__cents"]
    found["points_ratio"] = ratio(points, cents)
    found["their_ratio"] = None if points is None else 1000 * points / cents if cents else math.inf
    return found


FEATURES = [
    "activity:*", "activity.v2:*", "last_purchase:*", "purchases:*", "visit_log:*", "scores:*", "segments:*",
    "balances:*", "live_visits:*", "live_balances:*", "consents:*", "rates:*", "shops:*", "stock:*",
    "points:*", "home:*", "regions:region",
]  # fmt: skip
ROLES = ["home=countries(Country Code=Country)", "regions(Country Code=Country)"]
PARTS = {"points": "points:points", "cents": "last_purchase:cents"}
ON_DEMAND = [
    {"on_demand": "points_ratio", "arguments": PARTS},
    {"on_demand": "loyalty.points_ratio", "as": "their_ratio", "arguments": PARTS},
]


def without_zone(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def compare(table: pa.Table, given: list[dict[str, Any]], *other: str) -> None:
    """Every value of the table's features for the rows of the spine, in their order; `other` columns are left out."""
    rows = table.to_pylist()
    assert [row["label"] for row in rows] == [row["label"] for row in given]
    for found, row in zip(rows, given, strict=True):
        features = {name: without_zone(found[name]) for name in found if name not in (*row, *other)}
        wanted = {name: without_zone(value) for name, value in expected(row).items()}
        assert features.keys() == wanted.keys()
        assert features == wanted, row["label"]


# Training sets ------------------------------------------------------------------------------------------------------


def test_the_expectation_is_what_one_reads_in_the_files() -> None:
    """Some of it, by hand."""
    by_label = {row["label"]: expected(row) for row in spine()}
    assert len(by_label) == 13
    # The purchase of the 2nd was recorded on the 4th at 07:00, just in time; until then that of the 1st is the last.
    assert [by_label[label]["last_purchase__order"] for label in ("late", "keeps", "last")] == ["tea", "mug", "jam"]
    assert by_label["keeps"]["activity__page"] == by_label["fixed"]["activity__page"] == "tea"
    assert by_label["fixed"]["segments__segment"] == "small", "the correction of the first purchase is the newest row"
    assert by_label["gone"]["last_purchase__status"] == "NOT_FOUND", "it was cancelled"
    assert by_label["fixed"]["last_purchase__status"] == "OUTSIDE_MAX_AGE"
    assert [by_label[label]["home__name"] for label in ("buys", "fixed", "early")] == ["Norway", "Norge", None]
    assert by_label["second"]["purchases__bought_lifetime"] == 1
    assert by_label["points"]["points__status"] == "NOT_FOUND", "to the package that customer is a test"
    assert by_label["points"]["scores__score"] == 2.5
    assert by_label["last"]["points_ratio"] == 3 * 100 / 300
    # A restated rate of an older day never wins; that of the 2nd is just in time, and then too old.
    rates = [by_label[label]["rates__Rate"] for label in ("late", "keeps", "fixed")]
    assert rates == [Decimal("1.1"), Decimal("1.25"), 1]
    assert by_label["nobody"]["rates__status"] == "PRESENT", "it has no key that could be unknown"
    assert (by_label["nokey"]["shops__status"], by_label["notime"]["shops__status"]) == ("PRESENT", "NULL_KEY")
    assert by_label["early"]["shops__town"] == "Bergen", "it holds at any time"
    assert (by_label["second"]["consents__channel"], by_label["gone"]["consents__status"]) == ("mail", "NOT_FOUND")


@pytest.mark.parametrize("kind", sampled(["seed", "csv", "parquet", "arrow"], 1))
def test_all_features_for_every_kind_of_spine(whole: Whole, tmp_path: Path, kind: str) -> None:
    given = spine()
    table = pa.table(
        {
            name: pa.array(
                [row[name] for row in given], pa.timestamp("us", "UTC") if name == "event_timestamp" else None
            )
            for name in given[0]
        }
    )
    parquet = tmp_path / "spine.parquet"
    pq.write_table(table, parquet)
    spines: dict[str, Any] = {
        "seed": "moments", "csv": SOURCE / "seeds/moments.csv", "parquet": parquet,
        "arrow": table,
    }  # fmt: skip
    found = whole.store.get_historical_features(
        spines[kind], [*FEATURES, *ON_DEMAND], roles=ROLES, full_feature_names=True, provenance=True
    ).to_arrow()
    assert len(found) == 13
    compare(found, given)
    assert found["zip"].to_pylist()[0] == "00100"


def test_the_command_line_writes_the_same(whole: Whole, tmp_path: Path) -> None:
    features = [part for feature in FEATURES for part in ("--features", feature)]
    roles = [part for role in ROLES for part in ("--role", role)]
    options = ("--full-feature-names", "--provenance", "--output", str(tmp_path / "set.csv"))
    done = run("build-training-set", "--spine", "labels.v2", *features, *roles, *options, cwd=whole.directory)
    assert done.status == 0, done.err
    with (tmp_path / "set.csv").open() as file:
        texts = list(csv.DictReader(file))
    # The command line has on-demand features only in services.
    assert {*texts[0]} == {*spine()[0], *expected(spine()[0])} - {"points_ratio", "their_ratio"}
    for text, row in zip(texts, spine(), strict=True):
        wanted = {**row, **expected(row)}
        for name in text:
            if isinstance(wanted[name], (str, int, Decimal, type(None))) and not isinstance(wanted[name], bool):
                assert text[name] == ("" if wanted[name] is None else str(wanted[name])), (row["label"], name)


def test_the_macro_gives_the_rows_of_the_command_line(whole: Whole) -> None:
    with duckdb.connect(str(whole.directory / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        table = connection.sql("from training.training_set").to_arrow_table()
        small = connection.sql("select label, segment from training.segment_set").fetchall()
        baskets = connection.sql("from training.basket_set").to_arrow_table().to_pylist()
    seen = [f"{view}__{part}" for view in ("tiers", "cities") for part in ("tier", "city", "event_timestamp", "status")]
    compare(table, spine(), *seen)
    # In March dbt had not seen them yet.
    statuses = dict(zip(table["label"].to_pylist(), table["tiers__status"].to_pylist(), strict=True))
    assert (statuses["last"], statuses["nobody"]) == ("NOT_YET_KNOWN", "NOT_FOUND")
    assert dict(small) == {row["label"]: expected(row)["segments__segment"] for row in spine()}
    for found, row in zip(baskets, spine(), strict=True):
        assert {name: found[name] for name in BASKET} == {name: expected(row)[name] for name in BASKET}, row["label"]


BASKET = [
    "activity_v2__page", "activity_v2__seconds", "activity__page", "stock__On Hand", "home__name", "home__Vat Rate",
    "segments__segment", "consents__channel", "rates__Rate", "shops__town", "shops__Area", "points_ratio",
]  # fmt: skip


def test_services_of_all_files(filled: Whole, tmp_path: Path) -> None:
    sets = {}
    for service in ("churn", "basket", "loyalty_points", "everything"):
        output = str(tmp_path / f"{service}.parquet")
        done = run(
            "build-training-set", "--spine", "labels", "--service", service, "--output", output, cwd=filled.directory
        )
        assert done.status == 0, done.err
        sets[service] = [
            {name: value for name, value in row.items() if name not in spine()[0]}
            for row in pq.read_table(output).to_pylist()
        ]
    for number, row in enumerate(spine()):
        wanted = served(row)
        assert sets["churn"][number] == {
            "page": wanted["activity__page"],
            "tier": None,
            "balance": wanted["balances__balance"],
            **{name: wanted[f"purchases__{name}"] for name in COUNTS},
        }
        assert sets["basket"][number] == {name: wanted[name] for name in BASKET}
        assert sets["loyalty_points"][number] == {"points": wanted["points__points"]}
        assert sets["everything"][number] == wanted, row["label"]


def served(row: Mapping[str, Any]) -> dict[str, Any]:
    """All features of the service `everything`: also those of stored histories, and no provenance."""
    found = expected(row)
    # A key without events has no history, and then the default of the column is the count of the windows.
    found |= {f"purchase_history__{name}": found[f"purchases__{name}"] for name in COUNTS}
    found["visit_days__visits_of_day"] = visits_of_day(row)
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("scores") and not name.endswith(("__status", "__event_timestamp"))
    }


def visits_of_day(row: Mapping[str, Any]) -> int | None:
    """The visits of the newest day that is known, a day after its first instant, and then is just not too old."""
    at = row["event_timestamp"]
    seen = [one["seen_at"].replace(hour=0, minute=0, second=0) for one in visits() if one[CUSTOMER] == row[CUSTOMER]]
    newest = max((day for day in seen if at and day + timedelta(days=1) <= at), default=None)
    return seen.count(newest) if newest and at - newest <= timedelta(days=1) else None


# What the commands say ----------------------------------------------------------------------------------------------

STORED = [
    "activity.v1", "activity.v2", "balances", "cities", "consents", "countries", "last_purchase", "live_balances",
    "live_visits", "points", "purchase_history", "purchases", "rates", "regions", "scores", "segments", "shops",
    "stock", "tiers", "visit_days", "visit_log",
]  # fmt: skip


def test_check_and_views(filled: Whole) -> None:
    done = run("check", cwd=filled.directory)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "static, so that a training set leaks if their values change after the label: shops",
        "whole, target dev: 21 feature views, 4 services, 2 on-demand features, no problem",
    ]
    described = {one["name"]: one for one in filled.store.describe_views()}
    assert list(described) == STORED
    sizes = {name: len(rows) for name, (_, rows) in VIEWS.items()}
    renamed = {"activity": "activity.v1", "activity_v2": "activity.v2", "home": "countries"}
    assert {name: described[renamed.get(name, name)]["rows"] for name in sizes} == sizes
    assert described["countries"]["description"] == "The names and rates of countries, from the day on which they hold."
    assert described["stock"]["newest"] == "2026-03-05T12:00:00.000001+00:00"


def test_disabled_nodes_and_hooks(whole: Whole) -> None:
    """The project has disabled views with impossible settings; its hook counts the results of each run."""
    manifest = whole.store._workspace().manifest
    assert {one.split(".")[2] for one in manifest["disabled"]} == {"old_scores", "old_view", "gone", "abandoned"}
    with duckdb.connect(str(whole.directory / "warehouse.duckdb"), read_only=True) as connection:
        assert len(connection.sql("from audit.runs").fetchall()) >= 2


# Names that two packages have ---------------------------------------------------------------------------------------


def refused(manifest: dict[str, Any], problem: str, macro: str = "") -> None:
    """What the command line says of a manifest, and what dbt says when it renders a macro that reads `points`."""
    with pytest.raises(ProjectError, match=problem):
        Registry.from_manifest(manifest)
    if macro:
        with pytest.raises(ProjectError, match=macro):
            Renderer(manifest).call("latest_snapshot", view="points")


@pytest.fixture
def manifest(whole: Whole) -> dict[str, Any]:
    """A manifest to change."""
    found: dict[str, Any] = json.loads(manifest_of(Project(whole.directory)).read_text())
    return found


def test_a_view_of_a_package_that_ref_does_not_find_is_refused(manifest: dict[str, Any]) -> None:
    """A model of the project has its name, and `ref()` takes that one: its rows are other rows."""
    nodes = manifest["nodes"]
    assert Registry.from_manifest(manifest).views["points"].relation == '"warehouse"."loyalty"."points"'
    nodes["model.whole.points"] = {**nodes["model.whole.days"], "name": "points", "unique_id": "model.whole.points"}
    refused(
        manifest,
        r"points: name: ref\('points'\) finds models/semantic/_semantic.yml of the package whole, and not this feature "
        "view of the package loyalty; rename or disable one of the two",
        "'points' is not a feature view: ref.. finds .*days.*, and not the feature view of the package loyalty",
    )
    nodes["model.whole.points"]["config"] = nodes["model.loyalty.points"]["config"]
    nodes["model.whole.points"]["columns"] = nodes["model.loyalty.points"]["columns"]
    refused(manifest, "points: name: two feature views have this name; the other is in models/")


def test_two_services_of_one_name_are_refused(manifest: dict[str, Any]) -> None:
    exposures = manifest["exposures"]
    exposures["exposure.whole.again"] = {**exposures["exposure.whole.churn"], "name": "loyalty_points"}
    refused(manifest, "loyalty_points: name: two feature services have this name; the other is in models/")


def test_variables_of_a_package_are_part_of_a_definition(
    whole: Whole, manifest: dict[str, Any], tmp_path: Path
) -> None:
    """Its own defaults are in its own dbt_project.yml, which is no part of the manifest."""
    place = tmp_path / "copy"
    shutil.copytree(whole.directory, place, ignore=shutil.ignore_patterns("*.duckdb", "target", "logs"))
    own = place / "dbt_packages/loyalty/dbt_project.yml"

    def definition(node: str) -> str:
        return Fingerprints(manifest, Project(place).variables).of(node)

    before = definition("model.loyalty.points"), definition("model.loyalty.regions")
    own.write_text(own.read_text().replace('test_customers: ["000"]', 'test_customers: ["000", "007"]'))
    assert definition("model.loyalty.points") != before[0]
    assert definition("model.loyalty.regions") == before[1]


def test_a_deferred_view_keeps_its_version(whole: Whole, tmp_path: Path) -> None:
    """CI builds one model and reads the others as another target has them: each version with its own features."""
    production = manifest_of(Project(whole.directory)).read_text().replace("Feature Store", "Production")
    (tmp_path / "manifest.json").write_text(production)
    options = ["--select", "training_set", "--defer", "--favor-state", "--state", str(tmp_path)]
    assert start_dbt(whole.directory, whole.parsed, "compile", *options).wait() == 0
    compiled = (whole.directory / "target/compiled/whole/models/training/training_set.sql").read_text()
    assert ('"warehouse"."Production"."ft_activity__2"' in compiled, "Feature Store" in compiled) == (True, False)
    assert '"activity_v2__seconds"' in compiled
    assert '"activity__seconds"' not in compiled


# The online store ---------------------------------------------------------------------------------------------------

MOMENT = datetime(2026, 3, 7, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def exported(filled: Whole) -> Whole:
    """The same with an online store of one moment."""
    done = run("export", "--as-of", MOMENT.isoformat(), cwd=filled.directory)
    assert done.status == 0, done.err
    return filled


def test_the_online_store_has_what_the_rule_says(exported: Whole) -> None:
    done = run("verify", "--all", cwd=exported.directory)
    assert (done.status, done.out.splitlines()[-1].startswith("21 views, ")) == (0, True), done.out
    assert ": 0 differences" in done.out
    asked = [
        {CUSTOMER: customer, "Store Id": number, "SKU": sku, "Country": country}
        for customer in ("007", "042", "9", "888", "555")
        for number, sku, country in ((1, "tea", "NO"), (1, "mug", "IT"), (2, "tea", "FR"), (7, "x", "NO"))
    ]
    found = FeatureStore(exported.directory).get_online_features("everything", asked, now=MOMENT).to_dict()
    for number, keys in enumerate(asked):
        wanted = served({**keys, "event_timestamp": MOMENT})
        assert {name: values[number] for name, values in found.items() if name not in keys} == wanted, keys


def test_get_on_the_command_line(exported: Whole) -> None:
    keys = {CUSTOMER: "007", "Store Id": 1, "SKU": "mug", "Country": "NO"}
    entities = [part for key, value in keys.items() for part in ("--entity", f"{key}={value}")]
    done = run(
        "get", "--service", "everything", "--json", "--now", MOMENT.isoformat(), *entities, cwd=exported.directory
    )
    assert done.status == 0, done.err
    found = {name: answer["value"] for name, answer in json.loads(done.out).items()}
    wanted = served({**keys, "event_timestamp": MOMENT})
    assert found == json.loads(json.dumps(wanted, default=str))


# Snapshots, in three time zones -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "pinned"), PLACES)
def test_snapshots_hold_dbts_clock(
    built: dict[tuple[str, bool], Whole], zone: str, pinned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A time that dbt writes without a zone is read as UTC: right where the profile pins it, and else as it stands."""
    made = built[zone, pinned]

    def clock(moment: datetime) -> datetime:
        shown = moment.astimezone(timezone.utc if pinned else ZoneInfo(zone))
        return shown.replace(tzinfo=timezone.utc)

    def at(feature: str, times: list[datetime]) -> list[list[Any]]:
        asked = [{CUSTOMER: key, "event_timestamp": time} for key in ("007", "042") for time in times]
        found = made.store.get_historical_features(pa.Table.from_pylist(asked), [feature]).to_arrow()
        values = found[feature.split(":")[1]].to_pylist()
        return [values[:4], values[4:]]

    caplog.set_level("WARNING", "pit_join")
    assert at("tiers:tier", [clock(moment) for moment in made.runs]) == [
        [None, "free", "free", "gold"],
        [None, "gold", "gold", None],
    ]
    assert len(caplog.messages) == (0 if pinned else 1)
    # These times have a zone, so the instants are right; the move of January counts from when dbt saw it.
    assert at("cities:city", made.runs) == [[None, "Oslo", "Oslo", "Paris"], [None, "Rome", "Rome", "Rome"]]
