"""The examples of serving: each is built and run, and what it serves is held against the offline rule."""

import logging
import os
import re
import runpy
import signal
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import redis
from http_servers import serving
from servers import running, valkey_binary
from support.dbt import Built, build, example
from support.forks import programs

from pit_join import FeatureStore

pytestmark = pytest.mark.dbt

EVENING = datetime(2013, 3, 10, 19, tzinfo=timezone.utc)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def bits(values: list[Any]) -> list[Any]:
    """Values that are equal only if they are the same to the bit."""
    return [struct.pack("<d", value) if isinstance(value, float) else value for value in values]


# Flights: on-demand features over HTTP ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flights(demo: Built) -> pa.Table:
    """All flights of the demo's spine as if asked for on one evening, and two of which an airport is not known."""
    with duckdb.connect(str(demo.directory / "warehouse.duckdb"), read_only=True) as connection:
        known = connection.sql(
            "select distinct carrier, tailnum, origin, dest from flight_spine order by all"
        ).to_arrow_table()
    names = known.column_names
    lost = pa.table(dict(zip(names, (["B6"] * 2, ["N203JB"] * 2, ["JFK", "???"], ["???", "TPA"]), strict=True)))
    rows = pa.concat_tables([known, lost])
    times = pa.array([EVENING] * len(rows), pa.timestamp("us", "UTC"))
    return rows.append_column("event_timestamp", times)


def headwind_of(mph: float, wind_dir: float, here: tuple[float, float], there: tuple[float, float]) -> float:
    """The headwind in knots, by vectors: the wind's part along the direction in which the great circle leaves."""

    def unit(latitude: float, longitude: float) -> np.ndarray:
        phi, lam = np.radians([latitude, longitude])
        return np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])

    up, goal = unit(*here), unit(*there)
    east = np.cross([0, 0, 1], up) / np.linalg.norm(np.cross([0, 0, 1], up))
    north = np.cross(up, east)
    along = goal - goal.dot(up) * up
    wind = np.radians(wind_dir)
    source = np.sin(wind) * east + np.cos(wind) * north
    return float(mph / 1.150779448 * source.dot(along) / np.linalg.norm(along))


@pytest.mark.rest
def test_headwind_over_http_is_that_of_the_training_set(demo: Built, flights: pa.Table, tmp_path: Path) -> None:
    """All flights of the spine, at an hour at which the wind of one airport has no direction."""
    store = FeatureStore(demo.directory, online_store=str(tmp_path / "store"))
    offline = store.get_historical_features(flights, "flight_delay_v2").to_arrow()
    store.export(as_of=EVENING)
    asked = {name: flights[name].to_pylist() for name in flights.column_names}
    asked["event_timestamp"] = [one.isoformat() for one in asked["event_timestamp"]]
    with serving(tmp_path / "store", "--now", EVENING.isoformat()) as server:
        read = server.ask({"feature_service": "flight_delay_v2", "entities": asked}).json()
    results = dict(zip(read["metadata"]["feature_names"], read["results"], strict=True))
    features = offline.column_names[len(flights.column_names) :]
    assert len(features) == 10
    for name in features:
        assert bits(results[name]["values"]) == bits(offline[name].to_pylist()), name

    # Those that were found are what they should be, and the others are null for a reason.
    with duckdb.connect(str(demo.directory / "warehouse.duckdb"), read_only=True) as connection:
        places = {
            row[0]: row[1:]
            for row in connection.execute("select airport, latitude, longitude from stg_airports").fetchall()
        }
        winds = {
            row[0]: row[1:]
            for row in connection.execute(
                "select airport, wind_speed, wind_dir from airport_weather where event_timestamp = ?", [EVENING - HOUR]
            ).fetchall()
        }
    assert winds["LGA"][1] is None
    for origin, dest, found in zip(asked["origin"], asked["dest"], results["headwind"]["values"], strict=True):
        if found is None:
            assert origin in ("LGA", "???") or dest == "???"
        else:
            assert found == pytest.approx(headwind_of(*winds[origin], places[origin], places[dest]), rel=1e-6)
    assert 1_000 < sum(found is not None for found in results["headwind"]["values"]) < len(flights) - 2


# News feed: one matrix of many features ----------------------------------------------------------------------------


def script(directory: Path, name: str, *arguments: str) -> str:
    """What one of an example's programs prints."""
    command = [programs() / "python", name, *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.rest
def test_news_feed(tmp_path: Path) -> None:
    """The whole matrix is that of the training set to the bit, and the statuses are for its reasons."""
    directory = example("news_feed", tmp_path)
    script(directory, "columns.py")
    build(directory)
    read = runpy.run_path(str(directory / "read.py"))
    store = FeatureStore(directory)
    assert store.export(as_of=read["NOW"]).views["item_profile"].written == 547
    printed = script(directory, "read.py", "3", str(tmp_path / "matrix.npy"))
    online = np.load(tmp_path / "matrix.npy")

    spine = pa.table({"user_id": [3] * 500, "item_id": read["CANDIDATES"], "event_timestamp": [read["NOW"]] * 500})
    offline = store.get_historical_features(spine, "news_feed_v1", provenance=True).to_arrow()
    features = [name for name in offline.column_names if re.fullmatch(r"(user|item|pair)_\d{4}", name)]
    expected = np.column_stack([offline[name].to_numpy().astype(np.float32) for name in features])
    assert online.dtype == np.float32
    assert online.shape == expected.shape == (500, 2_500)
    assert np.array_equal(np.isnan(online), np.isnan(expected))
    assert np.array_equal(online[~np.isnan(online)].view("u4"), expected[~np.isnan(online)].view("u4"))

    # Who is not there, and why: an export holds what is known, so NOT_YET_KNOWN is NOT_FOUND in it.
    why = {
        view: Counter(offline[f"{view}__status"].to_pylist()) for view in ("user_profile", "item_profile", "user_item")
    }
    assert why["user_profile"] == {"PRESENT": 500}
    assert why["item_profile"].keys() == {"PRESENT", "NOT_YET_KNOWN", "NOT_FOUND"}
    assert why["user_item"].keys() == {"PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"}
    missing = {view: counted["NOT_YET_KNOWN"] + counted["NOT_FOUND"] for view, counted in why.items()}
    bare = store.get_historical_features(spine, "news_feed_v1", defaults=False).to_arrow()
    nulls = sum(bare[name].null_count for name in features)
    not_found = 1_500 * missing["item_profile"] + 500 * missing["user_item"]
    too_old = 500 * why["user_item"]["OUTSIDE_MAX_AGE"]
    said = {name: int(number.replace(",", "")) for name, number in re.findall(r"^([A-Z_]+) +([\d,]+)$", printed, re.M)}
    assert said == {
        "PRESENT": online.size - nulls,
        "NOT_FOUND": not_found,
        "OUTSIDE_MAX_AGE": too_old,
        "NULL_VALUE": nulls - not_found - too_old,
    }
    shown = (directory / "README.md").read_text()
    assert [line for line in printed.splitlines()[:-1] if line not in shown] == []
    assert np.isnan(online).sum() < nulls  # of a pair that is not there, every fifth feature has its default
    assert (online[[row == "NOT_FOUND" for row in offline["user_item__status"].to_pylist()], 2_000::5] == 0).all()


# Fraud: a deadline for every request, also while a store is gone ----------------------------------------------------

MIDDAY = datetime(2026, 3, 31, 12, tzinfo=timezone.utc)
PAYMENT = {"card_id": 1, "account_id": 1, "amount_cents": 5_000, "event_timestamp": MIDDAY}
GOOD = {"PRESENT", "NULL_VALUE", "NOT_FOUND"}
# Of a payment without its windows: two features are facts of the account, 16 are made of windows.
DEFAULTS = {
    "limit_cents": 200_000, "is_business": False,
    "card_payments_1h": 0, "card_payments_1d": 0, "card_payments_30d": 0,
    "card_spent_cents_1h": 0, "card_spent_cents_1d": 0, "card_spent_cents_30d": 0,
    "card_mean_cents_30d": None, "card_paid_at_30d": None,
    "account_spent_cents_1d": 0, "account_spent_cents_30d": 0,
    "account_cards_1h": 0, "account_cards_1d": 0, "account_merchants_1d": 0,
    "amount_to_mean": 1.0, "seconds_since_payment": 2_592_000, "limit_share": 5_000 / 200_000,
}  # fmt: skip
LINE = re.compile(r"^ *\d+ payments: (.*)$")


class Loop:
    """`score.py` as a process, and what it prints; it is killed if it has not come to its end in two minutes."""

    def __init__(self, directory: Path, windows: str) -> None:
        self.process = subprocess.Popen(
            [programs() / "python", "score.py"], cwd=directory, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PIT_JOIN_ONLINE_STORE_WINDOWS": windows},
        )  # fmt: skip
        self._watch = threading.Timer(120, self.process.kill)
        self._watch.start()

    def until(self, expected: Callable[[dict[str, int]], bool], lines: int = 3) -> None:
        """Wait for so many seconds of the loop, one after the other, of which the counts are as expected."""
        seen: list[str] = []
        found = 0
        while found < lines:
            line = self.process.stdout.readline()
            assert line, f"it has ended, with {self.process.poll()}: {seen}"
            seen.append(line)
            pairs = (one.rsplit(" ", 1) for one in LINE.fullmatch(line.rstrip())[1].split(", "))
            counted = {status: int(number.replace(",", "")) for status, number in pairs}
            assert sum(counted.values()) == len(DEFAULTS) * 200, line
            found = found + 1 if expected(counted) else 0

    def end(self) -> str:
        """Ctrl-C; gives what it prints at its end."""
        self.process.send_signal(signal.SIGINT)
        rest = self.process.stdout.read()
        assert self.process.wait() == 0
        return rest

    def close(self) -> None:
        self._watch.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.redis
@pytest.mark.rest
def test_fraud(tmp_path: Path) -> None:
    """The store of the windows is killed in the middle of the loop: defaults stand in until there is a new export.

    How long requests take is up to the machine, and logged: --log-cli-level INFO shows it.
    """
    directory = example("fraud", tmp_path)
    build(directory)
    with running(valkey_binary(), tmp_path / "server") as server, ExitStack() as stack:
        store = FeatureStore(directory, online_stores={"windows": server.url})

        def ask() -> tuple[dict[str, Any], dict[str, str]]:
            # The deadline is the loop's: this process holds dbt's manifests, and pauses to collect garbage.
            found = store.get_online_features("fraud_v1", [PAYMENT], now=MIDDAY, deadline=None)
            statuses = {name: status for name, (status,) in found.statuses.items()}
            return {name: found.to_dict()[name][0] for name in found.names}, statuses

        def offline() -> dict[str, Any]:
            row = store.get_historical_features(pa.Table.from_pylist([PAYMENT]), "fraud_v1").to_arrow().to_pylist()[0]
            return {name: bits([row[name]]) for name in DEFAULTS}

        store.export(as_of=MIDDAY)
        before, statuses = ask()
        assert {name: bits([value]) for name, value in before.items()} == offline()
        assert set(statuses.values()) <= GOOD
        loop = Loop(directory, server.url)
        stack.callback(loop.close)
        loop.until(lambda counted: counted.keys() <= GOOD)

        server.stop()
        loop.until(lambda counted: counted == {"PRESENT": 2 * 200, "STORE_FAILED": 16 * 200})
        failed, statuses = ask()
        assert failed == DEFAULTS
        assert statuses == {
            name: "PRESENT" if name in ("limit_cents", "is_business") else "STORE_FAILED" for name in DEFAULTS
        }

        with redis.Redis(port=server.port) as client:
            server.start(client)
        loop.until(lambda counted: counted == {"PRESENT": 2 * 200, "NOT_EXPORTED": 16 * 200})
        with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
            connection.execute("insert into card_payments values (1, ?, ?, 777)", [MIDDAY - MINUTE, MIDDAY - MINUTE])
        store.export(as_of=MIDDAY)
        loop.until(lambda counted: counted.keys() <= GOOD)
        printed = loop.end()

        after, statuses = ask()
        assert after["card_spent_cents_1h"] == before["card_spent_cents_1h"] + 777
        assert {name: bits([value]) for name, value in after.items()} == offline()
        assert set(statuses.values()) <= GOOD
        assert store.verify().found == 0
    payments, late, p50, p99 = map(
        float, re.match(r"(\d+) payments, (\d+) over 50 ms\np50 ([\d.]+) ms, p99 ([\d.]+) ms", printed).groups()
    )
    logging.getLogger(__name__).info(printed)
    assert payments >= 12 * 200
    assert p50 <= p99
    # One in a hundred is above the 99th percentile.
    assert p99 >= 50 or late <= payments / 100 + 1, printed
    assert p99 <= 50 or late >= payments / 100 - 1, printed
