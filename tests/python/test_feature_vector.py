"""The features of one entity row: a dict that also knows statuses, event times and failures."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from support.projects import run
from support.stores import AT, put

from pit_join import FeatureStore
from pit_join.errors import EntityError, PitJoinError, RequestError
from pit_join.http.answers import JSON, reply
from pit_join.http.requests import read_request
from pit_join.online.opening import open_store
from pit_join.online.protocol import OnlineStore
from pit_join.online.stores.lmdb_store import _prefix
from pit_join.records.store_manifest import Contents, StoredService
from pit_join.records.stored_view import StoredView
from pit_join.references import OnDemandRequest, Request
from pit_join.serving.client import describe_entity
from pit_join.serving.features import OnlineFeatures
from pit_join.serving.log_entry import Served
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import NOT_EXPORTED, NOT_FOUND, NULL_KEY, NULL_VALUE, PRESENT, STORE_FAILED

TWICE = 'cast("a:x" as double) * 2'
DOUBLED = (
    f"select cast({TWICE} as double) as doubled from _pit_arguments",
    f"select cast({TWICE} as double) as doubled from _pit_arguments",
    f"select {{'tried': try({{'value': cast({TWICE} as double)}}), 'default': cast(null as double)}} as doubled "
    "from _pit_arguments",
)
"""The SQL of an on-demand feature as an export writes it: with defaults, without, and tried."""

REQUESTS = [Request("a", ("*",), "a"), Request("b", ("n",), "b", {"user_id": "item"})]


@pytest.fixture
def store(tmp_path: Path) -> OnlineStore:
    opened = open_store(str(tmp_path / "online"), create=True)
    put(
        opened,
        {"a": {"user_id": [1, 2], "x": [1.5, None], "y": [3, 4]}, "b": {"user_id": [7, 8], "n": [5, None]}},
    )
    return opened


def test_statuses_are_those_of_rows(store: OnlineStore) -> None:
    reader = OnlineReader(store, REQUESTS)
    keys = [(1, 7), (2, 8), (1, None), (None, 7), (3, 9), (2**70, 7)]
    for user, item in keys:
        row = {"user_id": user, "item": item}
        vector = reader.get(row)
        forms = [reader.get_online_features(rows) for rows in ([row], row | {}, [row | {}] * 2)]
        row.clear()  # which the caller may use for the next request
        for found in forms:
            assert vector == {name: found.to_dict()[name][0] for name in reader.names}
            assert vector.statuses == {name: found.statuses[name][0] for name in reader.names}
            assert vector.event_timestamps == {name: found.event_timestamps[name][0] for name in reader.names}
            assert found.to_dict(include_event_timestamps=True)["x__ts"][0] == forms[2].to_dict(True)["x__ts"][0]
            assert np.array_equal(found.to_numpy()[0], forms[2].to_numpy()[0], equal_nan=True)
        assert list(vector) == list(vector.statuses) == list(vector.event_timestamps) == list(reader.names)
    assert reader.get({"user_id": 2, "item": None}).statuses == {"x": NULL_VALUE, "y": PRESENT, "n": NULL_KEY}
    assert reader.get({"user_id": 3, "item": 2**70}).statuses == {"x": NOT_FOUND, "y": NOT_FOUND, "n": NOT_FOUND}


def test_statuses_do_not_follow_the_changes_of_a_caller(store: OnlineStore) -> None:
    vector = OnlineReader(store, REQUESTS).get({"user_id": 1, "item": 7})
    vector["x"] = None
    del vector["y"]
    vector |= {"mine": 1}
    assert vector.statuses == {"x": PRESENT, "y": PRESENT, "n": PRESENT}


def test_a_copy_is_a_plain_dict(store: OnlineStore) -> None:
    vector = OnlineReader(store, REQUESTS).get({"user_id": 1, "item": 7})
    values = {"x": 1.5, "y": 3, "n": 5}
    for other in (copy.copy(vector), copy.deepcopy(vector), pickle.loads(pickle.dumps(vector)), vector | {}):
        assert type(other) is dict
        assert other == values
    assert json.loads(json.dumps(vector)) == json.loads(orjson.dumps(vector)) == values


def test_a_vector_survives_the_next_export(store: OnlineStore) -> None:
    """Its statuses are those of the state that it was read from."""
    reader = OnlineReader(store, REQUESTS)
    vector = reader.get({"user_id": 2, "item": 8})
    put(store, {"a": {"user_id": [1], "x": [9.0], "y": [3]}, "b": {"user_id": [7], "n": [5]}})
    assert reader.get({"user_id": 2, "item": 8}).statuses == dict.fromkeys(reader.names, NOT_FOUND)
    assert vector.statuses == {"x": NULL_VALUE, "y": PRESENT, "n": NULL_VALUE}


class Logged(list[Served]):
    """A log of everything that is served."""

    def sampled(self) -> bool:
        return True

    def add(self, rows: int, make: Callable[[], Served]) -> None:
        self.append(make())


def declare(store: OnlineStore, views: dict[str, StoredView], service: StoredService) -> None:
    """Replace the contents of a store as an export of the same records does; `b` is declared, and not exported."""
    described = {**views, "b": replace(views["b"], instant=None)}
    contents = Contents("demo", "dev", AT, described, {"scores": service}).to_json()
    with store.writing(1, lambda message: None) as writer:
        writer.replace(contents, {}, views, 2, False, lambda done, total, view: None)


def test_one_row_is_read_once_where_an_export_adds_on_demand_features(tmp_path: Path) -> None:
    """Such a row has another form than the server expects; it is logged once, and its failures are counted once."""
    store = open_store(str(tmp_path / "online"), create=True)
    _, views = put(store, {"a": {"user_id": [1], "x": [1.5]}, "b": {"user_id": [1], "n": [5]}})
    requests = (Request("a", ("*",), "a"), Request("b", ("n",), "b"))
    doubled = OnDemandRequest("twice", "doubled", {"x": "a:x"}, {"x": "double"}, "double")
    declare(store, views, StoredService(requests, False))
    log = Logged()
    reader = OnlineReader(store, "scores", strict=False, log=log)
    asked = read_request(b'{"feature_service": "scores", "entities": {"user_id": [1]}}', 10)
    values = {"user_id": 1, "x": 1.5, "n": None}
    for failures, more in ((1, {}), (2, {"doubled": 3.0}), (3, {"doubled": 3.0})):
        if failures == 2:
            declare(store, views, StoredService((*requests, doubled), False, DOUBLED))
            assert not reader.on_demand  # the reader does not know of the export yet
        found = json.loads(reply(asked, reader, JSON).content)
        columns = dict(zip(found["metadata"]["feature_names"], found["results"], strict=True))
        assert {name: column["values"] for name, column in columns.items()} == {
            name: [value] for name, value in (values | more).items()
        }
        assert reader.failures == {("b", NOT_EXPORTED): failures}
        assert len(log) == failures
        assert log[-1].features.statuses["n"] == [NOT_EXPORTED]


def test_a_damaged_record_that_only_an_on_demand_feature_takes(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "online"), create=True)
    _, views = put(store, {"a": {"user_id": [1], "x": [1.5]}, "b": {"user_id": [1], "n": [5]}})
    doubled = OnDemandRequest("twice", "doubled", {"x": "a:x"}, {"x": "double"}, "double")
    declare(store, views, StoredService((Request("b", ("n",), "b"), doubled), False, DOUBLED))
    reader = OnlineReader(store, "scores", strict=False)
    row = {"user_id": 1}
    assert reader.get(row)["doubled"] == 3.0
    with store._environment.begin(write=True) as transaction:  # type: ignore[attr-defined] # a disk does it otherwise
        cursor = transaction.cursor()
        cursor.set_range(_prefix("a"))
        key, record = cursor.item()
        transaction.put(key, record[:40] + bytes([record[40] ^ 1]) + record[41:])
    for read in (reader.get(row), reader.get_online_features([row]), reader.get_online_features([row, row])):
        assert read.statuses["doubled"] in (STORE_FAILED, [STORE_FAILED], [STORE_FAILED] * 2)


@pytest.mark.parametrize(
    "read",
    [
        lambda reader, row: reader.get(row),
        lambda reader, row: reader.get_online_features([{"user_id": 1, "item": 7}, row]),
        lambda reader, row: reader.get_online_features({name: [value] for name, value in row.items()}),
        lambda reader, row: reader.get_online_features(row),
        lambda reader, row: reply(
            read_request(
                json.dumps({"features": ["a:x"], "entities": {name: [value] for name, value in row.items()}}).encode(),
                9,
            ),
            reader,
            JSON,
        ),
    ],
    ids=["row", "rows", "lists", "values", "http"],
)
def test_an_unknown_key_is_named_where_a_key_is_missing(
    store: OnlineStore, read: Callable[[OnlineReader, Any], Any]
) -> None:
    reader = OnlineReader(store, REQUESTS)
    with pytest.raises(EntityError, match=r"ha(s|ve) no 'item'; .*; the requested features have no key 'itme'$"):
        read(reader, {"user_id": 1, "itme": 7})
    with pytest.raises(EntityError, match=r"no 'item'; .* needs? item$"):
        read(reader, {"user_id": 1})
    read(reader, {"user_id": 1, "item": 7, "more": 0})  # as in Feast
    with pytest.raises(EntityError, match=r"'item' is of type integer, and 'x' is str$"):
        read(reader, {"user_id": 1, "item": "x", "more": 0})


@pytest.mark.parametrize("given", [None, 7, [{"user_id": 1, "item": 7}], "user"])
def test_one_row_is_a_mapping(store: OnlineStore, given: Any) -> None:
    with pytest.raises(EntityError, match=r"^an entity row is one mapping of keys to values"):
        OnlineReader(store, REQUESTS).get(given)


def test_many_rows_come_from_anything_that_yields_them(store: OnlineStore) -> None:
    reader, rows = OnlineReader(store, REQUESTS), [{"user_id": 1, "item": 7}, {"user_id": 2, "item": 7}]
    wanted = reader.get_online_features(rows).to_dict()
    for given in (tuple(rows), iter(rows), (row for row in rows), dict(enumerate(rows)).values()):
        assert reader.get_online_features(given).to_dict() == wanted
    for wrong in (None, 7, "user", iter([1]), np.array(3), pd.Series({"user_id": 1, "item": 7})):
        with pytest.raises(EntityError, match=r"^entity rows are mappings"):
            reader.get_online_features(wrong)


def test_text_with_an_unknown_key(store: OnlineStore) -> None:
    reader = OnlineReader(store, REQUESTS)
    with pytest.raises(EntityError, match="has the key 'itme'; did you mean 'item'"):
        reader.read_keys({"user_id": "1", "itme": "7"})
    with pytest.raises(EntityError, match="requested features need item"):
        reader.read_keys({"user_id": "1"})


def test_a_warning_of_values_from_the_future(
    store: OnlineStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client, row = FeatureStore(online_store=tmp_path / "online"), {"user_id": 1}
    for now in (None, AT, AT + timedelta(days=1)):
        client.get_online_features(["a:x"], row, now=now)
    assert caplog.messages == []
    before = AT - timedelta(microseconds=1)
    client.get_online_features(["a:x"], row, now=before)
    describe_entity(client.online_reader(["a:x", "a:y"]), {"user_id": "1"}, now="2026-02-28")
    assert [message.split("; ")[0] for message in caplog.messages] == [
        f"the online store holds the export of {AT}, which is later than {now}: "
        "values of a may not have been known then"
        for now in (before, "2026-02-28 00:00:00+00:00")
    ]


def test_get_prints_as_of_which_instant_the_values_were_exported(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "online"), create=True)
    tables = {"a": {"user_id": [1], "x": [1.5], "y": [3]}, "b": {"user_id": [1], "n": [5]}}
    _, views = put(store, tables)
    get = ("get", "--store", str(tmp_path / "online"), "--entity", "user_id=1", "--now", "2026-03-02 12:00")
    all_of_one = run(*get, "--features", "a:*,b:*").out.splitlines()
    assert all_of_one[2:] == [
        "x        1.5    PRESENT  1970-01-01 00:00:00  20514.5 d",
        "y        3      PRESENT  1970-01-01 00:00:00  20514.5 d",
        "n        5      PRESENT  1970-01-01 00:00:00  20514.5 d",
        "the export is as of 2026-03-01 00:00:00 UTC, 1.5 d old",
    ]
    later = replace(views["b"], instant=AT + timedelta(days=1))
    contents = Contents("demo", "dev", AT, {**views, "b": later}).to_json()
    with store.writing(1, lambda message: None) as writer:
        writer.replace(contents, {}, views, 2, False, lambda done, total, view: None)
    assert run(*get, "--features", "a:*,b:*").out.splitlines()[5:] == [
        "the export of x, y is as of 2026-03-01 00:00:00 UTC, 1.5 d old",
        "the export of n is as of 2026-03-02 00:00:00 UTC, 12.0 h old",
    ]
    before = run(*get[:-1], "2026-02-28 21:00", "--features", "a:x").out.splitlines()
    assert before[-1] == "the export is as of 2026-03-01 00:00:00 UTC, 3.0 h later than --now"
    exported = json.loads(run(*get, "--features", "b:n,a:x", "--json").out)
    assert [one["exported_at"] for one in exported.values()] == [
        "2026-03-02T00:00:00+00:00", "2026-03-01T00:00:00+00:00",
    ]  # fmt: skip


def test_the_text_of_many_features_is_short(store: OnlineStore) -> None:
    found = OnlineReader(store, REQUESTS).get_online_features([{"user_id": 1, "item": 7}] * 2)
    assert repr(found) == "<OnlineFeatures: 2 rows of ('x', 'y', 'n')>"
    assert found.exported_at == {"x": AT, "y": AT, "n": AT}


def test_a_view_in_the_place_of_a_service(store: OnlineStore) -> None:
    with pytest.raises(RequestError, match=r"service 'a'; 'a' is a feature view; ask for 'a:\*'$"):
        OnlineReader(store, "a")


def test_stores_that_no_view_uses(store: OnlineStore, tmp_path: Path) -> None:
    url = str(tmp_path / "online")
    FeatureStore(online_store=url).check_named_stores()
    named = FeatureStore(online_store=url, online_stores={"fsat": tmp_path / "other"})
    with pytest.raises(
        RequestError, match="no feature view is in an online store named 'fsat'; there are no named stores"
    ):
        named.check_named_stores()
    _, data = store.contents()
    contents = Contents.from_json(data or b"", "")
    views = {name: replace(view, store="fast" if name == "b" else "") for name, view in contents.views.items()}
    with store.writing(1, lambda message: None) as writer:
        writer.replace(replace(contents, views=views).to_json(), {}, {"a": views["a"]}, 1, False, lambda *_: None)
    with pytest.raises(RequestError, match="named 'fsat'; did you mean 'fast'"):
        named.check_named_stores()
    FeatureStore(online_store=url, online_stores={"fast": tmp_path / "other"}).check_named_stores()


def test_what_a_frame_cannot_hold_is_in_the_dict(tmp_path: Path) -> None:
    """The message advises what there is: an answer has no `to_arrow()`."""
    opened = open_store(str(tmp_path / "online"), create=True)
    put(opened, {"a": {"user_id": [1, 2], "n": [2**53 + 1, None], "several": [[2**53 + 1, None], []]}})

    def found(feature: str) -> OnlineFeatures:
        return OnlineReader(opened, [Request("a", (feature,), "a")]).get_online_features({"user_id": [1, 2]})

    assert found("n").to_df()["n"].to_list() == [2**53 + 1, pd.NA]
    with pytest.raises(PitJoinError, match=r"the column 'n': .*; leave out dtypes='numpy', or use to_dict\(\)$"):
        found("n").to_df(dtypes="numpy")
    with pytest.raises(PitJoinError, match=r"the column 'several': .* makes floats of them; use to_dict\(\)$"):
        found("several").to_df()
    assert found("several").to_dict()["several"] == [[2**53 + 1, None], []]
