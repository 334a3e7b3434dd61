"""Views whose export is older than their `max_staleness`: defaults are served, and the status says so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from http_servers import serving
from online_cases import Exporter
from support.feature_logs import rows_of
from test_tiers import AT, ROW, WHOLE, manifest, node, vector, without_activity

from pit_join.errors import StoreError
from pit_join.monitoring.feature_log import FeatureLog
from pit_join.online.protocol import Failed
from pit_join.records.store_manifest import Contents
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

BOUND, HAIR = timedelta(minutes=10), timedelta(microseconds=1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporter]:
    """Two tables of a thousand users, as `test_tiers` has them, in one embedded store."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, column, first in (("profile", "age", 20), ("activity", "visits", 10)):
            connection.execute(
                f"create table {name} as select i as user_id, timestamptz '{AT}' as event_timestamp, "
                f"cast({first} + i as integer) as {column} from range(1000) t(i)"
            )
        yield Exporter(connection, tmp_path, monkeypatch)


def bounded(**settings: Any) -> dict[str, Any]:
    """The project, with a bound on `activity` alone."""
    project = manifest(store=None)
    project["nodes"]["model.pit_join.activity"]["config"]["meta"]["pit_join"] |= settings
    return project


def export(shop: Exporter, instant: datetime = AT, **settings: Any) -> None:
    shop.run(bounded(**{"max_staleness": "10 minutes", **settings}), round(instant.timestamp() * 1e6))


def test_from_the_bound_on_defaults_are_served_until_the_next_export(shop: Exporter) -> None:
    export(shop)
    stale = without_activity("STALE")
    for strict in (False, True):
        reader = OnlineReader(shop.store(), "s", strict=strict)
        assert vector(reader, now=AT + BOUND) == WHOLE
        assert reader.failures == {}
        assert vector(reader, now=AT + BOUND + HAIR) == stale
        assert reader.failures == {("activity", "STALE"): 2}
        found = reader.get_online_features([ROW, ROW], now=AT + BOUND + HAIR)
        assert found.failures == {
            "activity": "the export of the feature view 'activity' is as of 2026-03-01 12:00:00 UTC, and its "
            "max_staleness is 10 minutes; run pit-join export"
        }
        assert found.to_numpy().tolist() == [[21, 4, 12.5, 100]] * 2
        assert found.event_timestamps["visits"] == [None, None]
        assert found.exported_at["visits"] == [AT, AT] or found.exported_at["visits"] == AT
    export(shop, AT + BOUND)  # nothing has changed but the instant
    assert vector(reader, now=AT + BOUND + HAIR) == WHOLE
    assert vector(reader, now=AT + 2 * BOUND + HAIR) == stale
    shop.run(manifest(store=None), round(AT.timestamp() * 1e6))  # the bound is gone
    assert vector(reader, now=AT + 2 * BOUND + HAIR) == WHOLE


def test_only_what_is_asked_for_counts(shop: Exporter) -> None:
    """A stale view that no feature of the request needs does no harm; one that only an argument needs does."""
    export(shop)
    store, later = shop.store(), AT + BOUND + HAIR
    assert OnlineReader(store, [Request("profile", ("age",), "profile")]).get({"user_id": 1}, now=later).failures == {}
    project = bounded(max_staleness="10 minutes")
    features = project["exposures"]["exposure.pit_join.s"]["config"]["meta"]["pit_join"]["features"]
    features.remove("activity:visits")
    shop.run(project, round(AT.timestamp() * 1e6))
    reader = OnlineReader(store, "s")
    for found in (reader.get(ROW, now=later), reader.get_online_features([ROW, ROW], now=later)):
        statuses = {name: one if isinstance(one, str) else one[0] for name, one in found.statuses.items()}
        assert statuses == {"age": "PRESENT", "share": "STALE", "twice": "PRESENT"}


def test_a_count_is_not_0(shop: Exporter) -> None:
    """Of a key without events a count is 0; of one whose events are not known it is null."""
    counted = {"name": "seen", "function": "count", "window": "7 days"}
    project = manifest(store=None)
    project["exposures"] = {}
    project["nodes"]["model.pit_join.activity"] = node(
        "activity", {"visits": "integer"}, {}, aggregations=[counted], max_staleness="10 minutes"
    )
    shop.run(project, round((AT + timedelta(hours=1)).timestamp() * 1e6))
    reader = OnlineReader(shop.store(), [Request("activity", ("seen",), "activity")])
    fresh, later = AT + timedelta(hours=1), AT + timedelta(hours=2)
    for rows, expected in (([1], [1]), ([1, 5000], [1, 0]), ([5000], [0])):
        asked = [{"user_id": user} for user in rows]
        assert reader.get_online_features(asked, now=fresh).to_dict()["seen"] == expected
        found = reader.get_online_features(asked, now=later)
        assert (found.to_dict()["seen"], found.statuses["seen"]) == ([None] * len(rows), ["STALE"] * len(rows))
        assert all(number != number for number in found.to_numpy()[:, 0].tolist())
        assert reader.get(asked[0], now=later) == {"seen": None}
    asked = [{"user_id": 1}, {"user_id": None}]
    found = reader.get_online_features(asked, now=later)
    assert (found.to_dict()["seen"], found.statuses["seen"]) == ([None, 0], ["STALE", "NULL_KEY"])
    assert found.to_numpy()[1, 0] == 0
    assert found.to_numpy()[0, 0] != found.to_numpy()[0, 0]


def test_a_null_key_stays_one(shop: Exporter) -> None:
    export(shop)
    reader = OnlineReader(shop.store(), "s")
    row = {"user_id": None, "amount": 50}
    assert reader.get(row, now=AT + BOUND + HAIR).statuses["visits"] == "NULL_KEY"
    found = reader.get_online_features([row, ROW], now=AT + BOUND + HAIR)
    assert found.statuses["visits"] == ["NULL_KEY", "STALE"]


class FailedInPart:
    """A store of which the record of the first key is lost."""

    def __init__(self, store: Any) -> None:
        self._store, self.names, self.folder, self.contents = store, store.names, store.folder, store.contents

    def read(self, *asked: Any) -> Any:
        found = self._store.read(*asked)
        return found and [
            Failed([b"", *whole(records)[1:]], [0], "STORE_FAILED", StoreError("a node is down")) for records in found
        ]


def whole(records: Any) -> list[bytes]:
    text, lengths = records
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    return [text[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def test_a_store_that_fails_in_part_is_stale(shop: Exporter) -> None:
    export(shop)
    store: Any = FailedInPart(shop.store())
    requests = [Request("activity", ("visits",), "activity")]
    rows = [{"user_id": user} for user in (1, 2, None)]
    reader = OnlineReader(store, requests, strict=False)
    found = reader.get_online_features(rows, now=AT + BOUND + HAIR)
    assert found.statuses["visits"] == ["STALE", "STALE", "NULL_KEY"]
    assert found.to_dict()["visits"] == [4, 4, 4] == found.to_numpy()[:, 0].tolist()
    with pytest.raises(StoreError, match="a node is down"):
        OnlineReader(store, requests).get_online_features(rows, now=AT + BOUND + HAIR)


def test_what_is_logged(shop: Exporter) -> None:
    export(shop)
    log = FeatureLog(shop.folder / "log", 1)
    reader = OnlineReader(shop.store(), "s", log=log)
    reader.get(ROW, now=AT + BOUND + HAIR)
    reader.get_online_features([ROW, ROW], now=AT + BOUND + HAIR)
    log.close()
    rows = rows_of(shop.folder / "log")
    assert len(rows) == 3
    for row in rows:
        statuses = {name: each["status"] for name, each in row["features"].items()}
        assert statuses == {"age": "PRESENT", "visits": "STALE", "share": "STALE", "twice": "PRESENT"}


def test_a_store_that_was_exported_before_there_was_a_bound(shop: Exporter) -> None:
    export(shop)
    with_bound = shop.store().contents()[1]
    assert with_bound is not None
    described = json.loads(with_bound)
    assert described["views"]["activity"]["max_staleness"] == 600_000_000
    assert "max_staleness" not in described["views"]["profile"]
    contents = Contents.from_json(with_bound, "here")
    assert contents.views["profile"].fresh_until is None
    bounded_view, last = contents.views["activity"], round((AT + BOUND).timestamp() * 1e6)
    assert (bounded_view.staleness(last), str(bounded_view.staleness(last + 1))[:10]) == (None, "the export")
    for broken in ("soon", [1], True, 0, -5, -(10**30), 2**63):
        view = described["views"]["activity"] | {"max_staleness": broken}
        text = json.dumps(
            {name: value for name, value in described.items() if name != "checksum"} | {"views": {"activity": view}}
        )
        with pytest.raises(StoreError, match="the max_staleness is"):
            Contents.from_json(text.encode(), "here")


@pytest.mark.slow
def test_a_server_from_the_second_on_that_was_declared(shop: Exporter) -> None:
    """Its exporter is dead: the values fall back by the clock, and are back with the next export."""
    body = {"feature_service": "s", "entities": {"user_id": [1], "amount": [50]}}

    def now() -> datetime:
        return datetime.now(timezone.utc)

    def visits(server: Any) -> tuple[Any, str]:
        answer = server.ask(body).json()
        found = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))["visits"]
        return found["values"][0], found["statuses"][0]

    shop.connection.execute("update activity set event_timestamp = now()")
    exported = now()
    export(shop, exported, max_staleness="3 seconds")
    with serving(str(shop.folder / "store")) as server:
        seen = []
        while not seen or (seen[-1][1][1] == "PRESENT" and now() < exported + timedelta(seconds=20)):
            asked = now()
            seen.append((asked, visits(server), now()))
            time.sleep(0.01)
        assert all(found == (11, "PRESENT") for _, found, _ in seen[:-1])
        assert seen[-1][1] == (4, "STALE")
        bound = exported + timedelta(seconds=3)
        assert seen[-1][2] > bound
        assert seen[-2][0] <= bound
        assert server.metrics()['pit_join_feature_values_total{status="STALE",view="activity"}'] >= 1
        assert server.says("the export of the feature view 'activity' is as of")
        floats = server.ask(body, accept="application/octet-stream")
        assert floats.headers["pit-join-failures"] == '["activity"]'
        export(shop, now(), max_staleness="1 hour")
        assert visits(server) == (11, "PRESENT")
