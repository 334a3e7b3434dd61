"""`pit-join serve`: real processes on free ports, asked over HTTP."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from http_servers import COMMAND, Serving, fuzz, serving
from online_worker import expected, export
from servers import free_ports, running, valkey_binary
from support.stores import put
from writing import replace_all

from pit_join import FeatureStore
from pit_join.http.answers import ARROW, FLOATS, JSON
from pit_join.online.opening import open_store
from pit_join.records.arrow import field_of
from pit_join.records.keys import KeyCodec
from pit_join.records.layout import element_of
from pit_join.records.store_manifest import Contents, StoredService
from pit_join.references import Request

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent / "golden" / "store_v1"
ONE = {"features": ["windows:count_7d"], "entities": {"id": [1]}}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
JSON_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["2026-03-01", "2026-03-01T12:00:00Z", "12.5", "NaN", "AA=="])
    | st.dictionaries(st.text(max_size=2), st.none(), max_size=1)
)
NEVER = "1970-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("golden") / "store"
    copy.mkdir()
    shutil.copy(GOLDEN / "data.mdb", copy)
    return copy


@pytest.fixture(scope="module")
def server(golden: Path) -> Iterator[Serving]:
    with serving(golden) as started:
        yield started


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path / "online"


def served(response: httpx.Response) -> dict[str, dict[str, list[Any]]]:
    """An answer's columns by name."""
    assert response.status_code == 200, response.text
    found = response.json()
    assert set(found) == {"metadata", "results"}
    return dict(zip(found["metadata"]["feature_names"], found["results"], strict=True))


# Feast --------------------------------------------------------------------------------------------------------

FEAST = json.loads((Path(__file__).parent / "feast_client.json").read_text())


@pytest.mark.parametrize("call", FEAST["get_online_features"], ids=lambda call: str(list(call["result"])[-1]))
def test_what_the_client_of_feast_asks_and_reads(server: Serving, call: dict[str, Any]) -> None:
    answer = server.client.post("/get-online-features", content=call["body"], headers=FEAST["headers"])
    columns = served(answer)
    assert {name: column["values"] for name, column in columns.items()} == call["result"]
    known = {"PRESENT", "NOT_FOUND", "NULL_VALUE", "OUTSIDE_MAX_AGE"}
    assert {status for column in columns.values() for status in column["statuses"]} <= known


def test_what_an_older_client_of_feast_reads_row_by_row(server: Serving) -> None:
    call = FEAST["online_read"]
    answer = server.client.post("/get-online-features", content=call["body"], headers=FEAST["headers"]).json()
    # It takes the event time of the second column's first row for that of all, and needs a text there.
    assert datetime.fromisoformat(answer["results"][1]["event_timestamps"][0].replace("Z", "+00:00")) == (
        datetime.fromisoformat(call["event_time"])
    )
    rows = [
        {
            name: column["values"][row] if column["statuses"][row] == "PRESENT" else None
            for name, column in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
            if name != "id"
        }
        for row in range(3)
    ]
    assert rows == call["result"]


def test_the_client_of_feast_gets_an_error(server: Serving) -> None:
    answer = server.client.post("/get-online-features", content=FEAST["error"]["body"], headers=FEAST["headers"])
    assert answer.status_code == FEAST["error"]["status"]
    assert "no feature 'nope'" in answer.json()["detail"]


def test_the_requests_of_feasts_documentation(server: Serving) -> None:
    """`curl -X POST URL -d BODY`, which says of its body that it is a form's."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    for what in ({"features": ["windows:count_7d", "windows:mean_7d"]}, {"feature_service": "one"}):
        body = json.dumps({**what, "entities": {"id": [1, 2]}}, indent=2)
        columns = served(server.client.post("/get-online-features", content=body, headers=form))
        assert columns["id"] == {"values": [1, 2], "statuses": ["PRESENT"] * 2, "event_timestamps": [NEVER] * 2}
        assert columns["count_7d"]["values"] == [2, 0]


def test_what_feast_lets_pass(server: Serving) -> None:
    """Unknown fields and keys are ignored, and the service takes precedence over the features."""
    body = {**ONE, "feature_service": "one", "top_k": 3, "entities": {"id": [1], "colour": ["red"]}}
    assert list(served(server.ask(body))) == ["id", "plan", "visits", "count_7d", "mean_7d", "total_7d"]
    assert served(server.ask({**ONE, "feature_service": None}))["count_7d"]["values"] == [2]


# Values -------------------------------------------------------------------------------------------------------


def from_json(kind: str, value: Any) -> Any:
    """A value of an answer as the Python API has it."""
    if value is None:
        return None
    if element := element_of(kind):
        return [from_json(element, each) for each in value]
    if kind in ("float", "double"):
        return float(value)
    if kind.startswith("decimal"):
        return Decimal(value)
    if kind == "binary":
        return base64.b64decode(value)
    if isinstance(value, str) and value.endswith("infinity") and kind.startswith(("date32", "timestamp")):
        end, unit = (2**31 - 1, "D") if kind == "date32" else (2**63 - 1, kind[len("timestamp[") :][:2].strip("],"))
        return np.datetime64(-end if value.startswith("-") else end, unit)
    if kind == "date32":
        return date.fromisoformat(value) if len(value) == 10 else np.datetime64(value)
    if kind.startswith("timestamp"):
        unit, utc = kind[len("timestamp[") : -1].removesuffix(", UTC"), "UTC" in kind
        assert value.endswith("Z") == utc
        if unit == "ns" or not re.fullmatch(r"\d{4}-.*", value):
            return np.datetime64(value.removesuffix("Z"), unit)
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def as_json(value: Any) -> Any:
    """A key as a request has it."""
    if isinstance(value, float):
        return value if np.isfinite(value) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, (bool, int, str, type(None))) else str(value)


def rows_of(golden: Path, view: str) -> list[dict[str, Any]]:
    """Every key of a view, one of nulls, and one that is in no store."""
    store = open_store(str(golden))
    stored = FeatureStore(online_store=golden).online_contents().views[view]
    codec = KeyCodec(stored.keys)
    rows = [codec.decode(key) for key, _ in store.scan(stored)]
    return [*rows, dict.fromkeys(stored.keys), *rows[:1]]


def asked(rows: list[dict[str, Any]], view: str) -> dict[str, Any]:
    entities = {name: [as_json(row[name]) for row in rows] for name in rows[0]}
    return {"features": [f"{view}:*"], "entities": entities}


VIEWS = ["all_types", "all_keys", "pairs", "floats", "fresh", "windows"]


@pytest.mark.parametrize("view", VIEWS)
def test_values_are_those_of_the_python_api(server: Serving, golden: Path, view: str) -> None:
    store, rows = FeatureStore(online_store=golden), rows_of(golden, view)
    wanted = store.get_online_features([f"{view}:*"], rows)
    columns = served(server.ask(asked(rows, view)))
    assert set(columns) == set(rows[0]) | set(wanted.names)
    types = {field.name: field.type for field in store.online_contents().views[view].layout.fields}
    for name in wanted.names:
        found = [from_json(types[name], value) for value in columns[name]["values"]]
        assert repr(found) == repr(wanted.to_dict()[name]), name
        assert columns[name]["statuses"] == wanted.statuses[name]
        times = [NEVER if time is None else time.isoformat() for time in wanted.event_timestamps[name]]
        assert [time.replace("Z", "+00:00") for time in columns[name]["event_timestamps"]] == [
            time.replace("Z", "+00:00") for time in times
        ]
    for name in rows[0]:
        assert columns[name]["values"] == [as_json(row[name]) for row in rows]


def test_who_changes_a_default_changes_its_own(golden: Path) -> None:
    """Lists are handed out, and the reader keeps its defaults."""
    reader = FeatureStore(online_store=golden).online_reader(["fresh:tags"])
    now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    for _ in range(2):
        for row in ({"id": 404}, {"id": 7}):  # of one there is no record, of the other a null
            vector = reader.get(row, now=now)
            columns = reader.get_online_features([row], now=now).to_dict()
            assert vector["tags"] == columns["tags"][0] == []
            vector["tags"].append("mine")
            columns["tags"][0].append("mine")


@pytest.mark.parametrize("view", VIEWS)
def test_one_row_is_answered_as_one_of_many(server: Serving, golden: Path, view: str) -> None:
    """It goes another way, in less than half of the time; what is counted is the same, too."""
    rows = rows_of(golden, view)
    before = server.metrics()
    together = served(server.ask(asked(rows, view)))
    between = server.metrics()
    alone = [served(server.ask(asked([row], view))) for row in rows]
    after = server.metrics()
    for number, columns in enumerate(alone):
        assert list(columns) == list(together)
        for name, column in columns.items():
            assert column == {part: each[number : number + 1] for part, each in together[name].items()}, name
    values = [name for name in after if name.startswith("pit_join_feature_values_total")]
    counts = {name: between.get(name, 0) - before.get(name, 0) for name in values}
    assert counts == {name: after[name] - between.get(name, 0) for name in values}
    assert sum(counts.values()) == len(rows) * (len(together) - len(rows[0]))


def number(value: Any, kind: str) -> Any:
    """An instant or date as a number of its unit."""
    if isinstance(value, list):
        return [number(element, kind) for element in value]
    if value is None or isinstance(value, np.datetime64):
        return None if value is None else int(value.astype(np.int64))
    if not isinstance(value, datetime):
        return value.toordinal() - date(1970, 1, 1).toordinal()
    moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return (
        (moment - EPOCH)
        // timedelta(microseconds=1)
        // {"s": 10**6, "ms": 10**3, "us": 1}[re.split(r"[\[\],]", kind)[1]]
    )


@pytest.mark.parametrize("view", VIEWS)
def test_arrow(server: Serving, golden: Path, view: str) -> None:
    store, rows = FeatureStore(online_store=golden), rows_of(golden, view)
    wanted = store.get_online_features([f"{view}:*"], rows)
    answer = server.ask(asked(rows, view), accept=ARROW)
    assert (answer.status_code, answer.headers["content-type"]) == (200, ARROW), answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == [*rows[0], *wanted.names, *(f"{name}__status" for name in wanted.names)]
    types = {field.name: field.type for field in store.online_contents().views[view].layout.fields}
    for name in wanted.names:
        column, kind = table.column(name), types[name]
        assert field_of(pa.field(name, column.type)).type == kind
        values = wanted.to_dict()[name]
        if "timestamp" in kind or "date32" in kind:
            # Not all instants are in Python's years; as numbers they are.
            plain = pa.int32() if "date32" in kind else pa.int64()
            found = column.cast(pa.list_(plain) if element_of(kind) else plain).to_pylist()
            assert found == [number(value, kind) for value in values], name
        else:
            assert repr(column.to_pylist()) == repr(values), name
        assert table.column(f"{name}__status").to_pylist() == wanted.statuses[name]


def test_floats(server: Serving, golden: Path) -> None:
    features = ["windows:mean_7d", "windows:total_7d", "all_types:bool", "all_types:double", "all_types:decimal_4_2"]
    ids = [1, 2, 404, None, -1, 0, 3]
    answer = server.ask({"features": features, "entities": {"id": ids}}, accept=FLOATS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, FLOATS)
    assert answer.headers["pit-join-dtype"] == "float32"
    assert json.loads(answer.headers["pit-join-feature-names"]) == [name.split(":")[1] for name in features]
    shape = tuple(map(int, answer.headers["pit-join-shape"].split(",")))
    found = np.frombuffer(answer.content, "<f4").reshape(shape)
    wanted = FeatureStore(online_store=golden).get_online_features(features, {"id": ids}).to_numpy()
    assert shape == (7, 5)
    assert np.isnan(wanted).any()
    assert found.tobytes() == wanted.tobytes()
    refused = server.ask({"features": ["fresh:plan"], "entities": {"id": [1]}}, accept=FLOATS)
    assert (refused.status_code, refused.headers["content-type"]) == (422, JSON)
    assert "is of type string, which is not a number" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", JSON), ("application/json", JSON), (f"{ARROW};q=0.9, {JSON};q=0.1", ARROW),
        (f"text/html, {FLOATS}", FLOATS), (f"{ARROW};q=0, */*;q=0.5", JSON), ("", JSON),
    ],
)  # fmt: skip
def test_accept(server: Serving, accept: str, form: str) -> None:
    assert server.ask(ONE, accept=accept).headers["content-type"] == form


def test_of_two_headers_of_one_name_the_first_counts(server: Serving) -> None:
    for forms in ((FLOATS, JSON), (JSON, FLOATS)):
        answer = server.client.post(ASK, json=ONE, headers=[("accept", form) for form in forms])
        assert answer.headers["content-type"] == forms[0]


def test_keys_that_no_store_holds(server: Serving) -> None:
    """They are not found, and come back as they were sent, however odd."""
    ids = [2**53 + 1, 2**63 - 1, 2**64, -(10**30), 10**400, None]
    columns = served(server.ask({"features": ["windows:mean_7d"], "entities": {"id": ids}}))
    assert columns["id"]["values"] == ids
    assert columns["mean_7d"]["statuses"] == ["NOT_FOUND"] * 5 + ["NULL_KEY"]
    names = ["\ud800", "\0", "x" * 5000]
    body = json.dumps({"features": ["pairs:*"], "entities": {"a": names, "b": names}})
    columns = served(server.client.post("/get-online-features", content=body))
    assert columns["a"]["values"] == names
    floats = b'{"features": ["floats:name"], "entities": {"x": [1e999, -1e999, "NaN", -0.0, 1]}}'
    columns = served(server.client.post("/get-online-features", content=floats))
    assert columns["x"]["values"] == ["Infinity", "-Infinity", "NaN", -0.0, 1]
    assert columns["name"]["values"] == ["inf", "-inf", "nan", "0.0", None]


def test_no_rows(server: Serving) -> None:
    columns = served(server.ask({"feature_service": "one", "entities": {"id": []}}))
    assert set(map(str, columns["plan"].values())) == {"[]"}
    table = pa.ipc.open_stream(server.ask({**ONE, "entities": {"id": []}}, accept=ARROW).content).read_all()
    assert (table.num_rows, table.column_names) == (0, ["id", "count_7d", "count_7d__status"])
    assert server.ask({**ONE, "entities": {"id": []}}, accept=FLOATS).headers["pit-join-shape"] == "0,1"


# Bad requests -------------------------------------------------------------------------------------------------


def body(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in {**ONE, **changes}.items() if value is not ...}).encode()


ASK = "/get-online-features"
BAD: dict[str, tuple[str, str, bytes, dict[str, str], int, str]] = {
    "malformed": ("POST", ASK, b'{"entities":', {}, 422, r"the body is not JSON: .*"),
    "not UTF-8": ("POST", ASK, b'{"\xff": 1}', {}, 422, r"the body is not JSON: .*"),
    "empty": ("POST", ASK, b"", {}, 422, r"the body is not JSON: .*"),
    "no object": ("POST", ASK, b"[1]", {}, 422, r"the body must be a JSON object .*"),
    "deep": ("POST", ASK, b"[" * 200_000, {}, 422, r"the body is nested too deeply"),
    "deep value": ("POST", ASK, body(entities={"id": [[[[1]]]]}), {}, 422, r"the key 'id' is of type integer, .*"),
    "NaN": ("POST", ASK, b'{"entities": {"id": [NaN]}}', {}, 422, r'NaN is not JSON; write "NaN", .*'),
    "long number": ("POST", ASK, b'{"entities": {"id": [' + b"9" * 5000 + b"]}}", {}, 422, r"the body is not JSON: .*"),
    "twice": ("POST", ASK, b'{"entities": {"id": [1], "id": [2]}}', {}, 422, r"the body gives 'id' twice"),
    "no entities": ("POST", ASK, body(entities=...), {}, 422, r"'entities' must map .*, and is empty; .* need id"),
    "entities of null": ("POST", ASK, body(entities=None), {}, 422, r"'entities' must map each key to a list .*"),
    "single value": ("POST", ASK, body(entities={"id": 1}), {}, 422, r"'entities' must map each key to a list .*"),
    "lengths": ("POST", ASK, body(entities={"id": [1], "b": []}), {}, 422, r"the lists .* one length, got 0, 1"),
    "no features": ("POST", ASK, body(features=...), {}, 422, r"the body must have 'features', .*"),
    "number as feature": ("POST", ASK, body(features=[1]), {}, 422, r"'features' must be a list of references .*"),
    "number as service": ("POST", ASK, body(feature_service=1), {}, 422, r"'feature_service' must be the name .*"),
    "names": ("POST", ASK, body(full_feature_names="yes"), {}, 422, r"'full_feature_names' must be true or false"),
    "many": ("POST", ASK, body(features=["a:b"] * 5001), {}, 422, r"'features' has 5,001 references, .*"),
    "long name": ("POST", ASK, body(features=["a" * 9999]), {}, 422, r"a name has more than 1,000 characters"),
    "unknown feature": ("POST", ASK, body(features=["windows:mean"]), {}, 422, r"view 'windows' has no feature .*"),
    "unknown view": ("POST", ASK, body(features=["window:x"]), {}, 422, r".* did you mean 'windows'\? .*"),
    "unknown service": ("POST", ASK, body(feature_service="two2"), {}, 422, r".* no feature service 'two2'; .*"),
    "reference as service": ("POST", ASK, body(feature_service="a:b"), {}, 422, r"'feature_service' is a name, .*"),
    "no reference": ("POST", ASK, body(features=["windows"]), {}, 422, r"cannot read the reference 'windows'; .*"),
    "missing key": ("POST", ASK, body(entities={"b": [1, 2]}), {}, 422, r"the entity rows have no 'id'; .*"),
    "empty entities": ("POST", ASK, body(entities={}), {}, 422, r"'entities' must map .*, and is empty; .* need id"),
    "text as number": ("POST", ASK, body(entities={"id": ["1"]}), {}, 422, r".*'id' is of type integer, .* '1' is str"),
    "flag as number": ("POST", ASK, body(entities={"id": [True]}), {}, 422, r".*'id' is of type integer, and True .*"),
    "object as key": ("POST", ASK, body(entities={"id": [{}]}), {}, 422, r".*'id' is of type integer, and \{\} .*"),
    "rows": ("POST", ASK, body(entities={"id": [1] * 100_000}), {}, 422, r"the request has 100,000 rows, .* 10,000 .*"),
    "large": ("POST", ASK, b" " * 10_000_000, {}, 413, r"the body is larger than 4,194,304 bytes; ask in parts"),
    "long detail": ("POST", ASK, body(entities={"id": ["x" * 50_000]}), {}, 422, r".{2000}\.\.\."),
    "compressed": (
        "POST", ASK, body(), {"content-encoding": "gzip"}, 415, "the body must not be compressed, got .*: gzip",
    ),
    "content type": ("POST", ASK, body(), {"content-type": "text/xml"}, 415, r"the body must be application/json, .*"),
    "accept": ("POST", ASK, body(), {"accept": "text/html"}, 406, r"answers are application/json, .*"),
    "method": ("GET", ASK, b"", {}, 405, r"/get-online-features does not accept GET"),
    "method of health": ("DELETE", "/health", b"", {}, 405, r"/health does not accept DELETE"),
    "path": ("GET", "/get-online-feature", b"", {}, 404, r"there is no path /get-online-feature; .*"),
    "slash": ("POST", f"{ASK}/", body(), {}, 404, r"there is no path .*"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(server: Serving, name: str) -> None:
    method, path, content, headers, status, detail = BAD[name]
    counter = f'pit_join_requests_total{{path="{path if path in (ASK, "/health") else "other"}",status="{status}"}}'
    before = server.metrics().get(counter, 0)
    answer = server.client.request(method, path, content=content, headers={"content-type": JSON, **headers})
    assert (answer.status_code, answer.headers["content-type"]) == (status, JSON)
    assert list(answer.json()) == ["detail"]
    assert re.fullmatch(detail, answer.json()["detail"]), answer.text
    assert server.metrics()[counter] == before + 1
    assert (answer.headers.get("allow") is not None) == (status == 405)
    assert served(server.ask(ONE))["count_7d"]["values"] == [2]
    assert not any("Traceback" in line for line in server.said)


def test_a_large_body_in_chunks(server: Serving) -> None:
    answer = server.client.post(ASK, content=(b" " * 100_000 for _ in range(100)))
    assert (answer.status_code, answer.json()["detail"][:28]) == (413, "the body is larger than 4,19")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as asking:
        head = f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"
        asking.sendall(head.encode())
        assert asking.recv(100).startswith(b"HTTP/1.1 413 ")


def test_limits_are_options(golden: Path) -> None:
    with serving(golden, "--max-rows", "100000", "--max-body-bytes", "600000") as server:
        ids = [1, 2] * 50_000
        assert served(server.ask({**ONE, "entities": {"id": ids}}))["count_7d"]["values"] == [2, 0] * 50_000
        assert server.ask({**ONE, "entities": {"id": [*ids, 1]}}).status_code == 422
        assert server.ask({**ONE, "entities": {"id": [10**9] * 60_000}}).status_code == 413
        assert server.stop() == 0


def test_nobody_hears_of_a_fault_of_ours(golden: Path, tmp_path: Path) -> None:
    """An error that nobody foresaw is a 500 without its trace, which the log has."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import pit_join.feature_store\nfrom pit_join.serving.reader import OnlineReader\n"
        "def fail(*_, **__): raise RuntimeError('secret')\n"
        "OnlineReader._row = OnlineReader.get_online_features = fail\n"
        "pit_join.feature_store.FeatureStore.nearest = fail\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(broken))
        with serving(golden) as server:
            near = {"view": "all_types", "feature": "v", "vector": [1.0]}
            answers = [server.ask(ONE), server.ask({**ONE, "entities": {"id": [1, 2]}})]
            answers += [server.client.post("/nearest", json=near), server.client.get("/health")]
            said = {"detail": "this is an error of the server; its log says more"}
            assert [(answer.status_code, answer.json()) for answer in answers[:3]] == [(500, said)] * 3
            assert answers[3].status_code == 200
            assert server.metrics()[f'pit_join_requests_total{{path="{ASK}",status="500"}}'] == 2
            assert server.stop() == 0
    assert sum("RuntimeError: secret" in line for line in server.said) == 3


# The key ------------------------------------------------------------------------------------------------------


def test_the_key(golden: Path) -> None:
    with serving(golden, key="s3cret-é") as server:
        right: list[dict[str, Any]] = [
            {"authorization": "Bearer s3cret-é".encode()}, {"authorization": "bearer  s3cret-é".encode()},
            {"x-api-key": "s3cret-é".encode()}, {"authorization": "Basic eDp5", "x-api-key": "s3cret-é".encode()},
        ]  # fmt: skip
        wrong = [
            {}, {"authorization": "Bearer s3cret-"}, {"authorization": "s3cret-"}, {"x-api-key": ""},
            {"authorization": "Basic s3cret-"}, {"x-api-key": "s3cret-ée".encode()}, {"authorization": "Bearer"},
        ]  # fmt: skip
        for headers in right:
            assert server.client.post(ASK, json=ONE, headers=headers).status_code == 200
        for headers in wrong:
            answer = server.client.post(ASK, json=ONE, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json() == {"detail": "give the API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"}
        paths = ["/health", "/ready", "/feature-services", "/metrics", "/openapi.json", "/", "/nope"]
        assert [server.client.get(path).status_code for path in paths] == [200, 200, 401, 401, 401, 401, 401]
        shown = server.client.get("/openapi.json", headers=right[2]).json()
        assert set(shown["components"]["securitySchemes"]) == {"bearer", "header"}
        found = server.client.get("/metrics", headers=right[2]).text
        assert f'pit_join_requests_total{{path="{ASK}",status="401"}} {len(wrong)}.0' in found
        assert "s3cret" not in found
        assert server.stop() == 0
    assert not any("s3cret" in line for line in server.said)


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


def test_names_of_the_host(golden: Path) -> None:
    """Without a key a page of another site could reach the server, under a name of its own that leads to this host."""
    names = {
        "localhost": 200, "127.0.0.1": 200, "[::1]": 200, "LOCALHOST:6566": 200, "evil.example": 421,
        "127.0.0.1.evil.example": 421, "localhost.evil.example:80": 421,
    }  # fmt: skip

    def answers(server: Serving) -> dict[str, int]:
        return {name: server.ask_once(ONE, host=name).status_code for name in names}

    with serving(golden) as server:
        assert answers(server) == names
        assert server.client.get("/health", headers={"host": "evil.example"}).status_code == 200
        assert server.ask_once(ONE, host="evil.example").json() == {
            "detail": "the server does not answer to the name in 'Host'; its operator may allow that name"
        }
    with serving(golden, "--allowed-hosts", "evil.example, features") as server:
        assert answers(server) == {name: 200 if name == "evil.example" else 421 for name in names}
    with serving(golden, key="secret") as server:
        assert server.ask_once(ONE, host="evil.example", **{"x-api-key": "secret"}).status_code == 200


def test_an_empty_key_is_none(golden: Path) -> None:
    status, said = run("--store", str(golden), "serve", "--port", "0", PIT_JOIN_API_KEY=" ")
    assert (status, said) == (
        2, "Error: PIT_JOIN_API_KEY is set and empty; give it a key, or unset it to serve without\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "key", "warns"), [("0.0.0.0", None, True), ("0.0.0.0", "k", False), ("localhost", None, False)]
)
def test_a_warning_where_all_can_read(golden: Path, host: str, key: str | None, warns: bool) -> None:
    with serving(golden, "--host", host, key=key) as server:
        assert server.client.get("/health").json() == {"status": "alive"}
    warning = f"warning: anyone who can reach {host} can read all features; "
    warning += "set PIT_JOIN_API_KEY, or listen on 127.0.0.1"
    assert (server.said[0] == warning) == warns


def test_a_port_that_is_taken(server: Serving, golden: Path) -> None:
    status, said = run("--store", str(golden), "serve", "--port", str(server.port))
    assert status == 2
    assert re.fullmatch(rf"Error: cannot listen on 127\.0\.0\.1, port {server.port}: .*; give another .*\n", said)


# The store ----------------------------------------------------------------------------------------------------


def balance(server: Serving, *numbers: int) -> dict[str, list[Any]]:
    entities = {"user_id": [f"u{number}" for number in numbers]}
    columns = served(server.ask({"features": ["balance:*", "clicks:*", "visits:*"], "entities": entities}))
    return {name: column["values"] for name, column in columns.items() if name != "user_id"}


def test_a_store_that_comes_later(empty: Path) -> None:
    """Missing, empty, exported, with another schema, removed: all with no restart."""
    ask = {"features": ["balance:*"], "entities": {"user_id": ["u1"]}}
    with serving(empty) as server:
        # The answers do not name the place of the store, which the log does.
        unreadable = {"detail": "the online store cannot be read, or nothing was exported to it; the log says more"}
        for answer in (server.ask(ask), server.client.get("/ready")):
            assert (answer.status_code, answer.json()) == (503, unreadable)
        assert server.says(f"there is no online store in {empty}; run pit-join export")
        assert server.client.get("/health").status_code == 200
        assert server.client.get("/feature-services").status_code == 503
        counted = server.metrics()
        assert counted["pit_join_store_errors_total"] == 3
        assert counted["pit_join_store_ready"] == 0
        store = open_store(str(empty), create=True)
        answer = server.ask(ask)
        assert (answer.status_code, answer.json()) == (503, unreadable)
        assert server.says("nothing was exported to")
        assert server.client.get("/ready").status_code == 503
        export(store, 10, 1)
        assert balance(server, 1) == {name: [value] for name, value in expected(1, 1).items()}
        assert server.client.get("/ready").json() == {"status": "ready"}
        counted = server.metrics()
        assert counted["pit_join_store_ready"] == 1
        assert counted['pit_join_view_age_seconds{view="balance"}'] > 0
        export(store, 10, 2)
        assert balance(server, 1) == {name: [value] for name, value in expected(1, 2).items()}
        put(store, {"balance": {"user_id": ["u1"], "other": ["text"]}})
        assert served(server.ask(ask))["other"]["values"] == ["text"]
        assert "no feature view 'clicks'" in server.ask({**ask, "features": ["clicks:*"]}).json()["detail"]
        put(store, {})
        gone = served(server.ask(ask))["other"]
        assert (gone["values"], gone["statuses"]) == ([None], ["NOT_EXPORTED"])
        assert server.ask({**ask, "features": ["balance:other"]}).status_code == 422  # never asked for before
        assert server.stop() == 0


def test_a_view_that_comes_back_while_nobody_asks_for_it(empty: Path) -> None:
    """It is renewed when others are asked for; that it was not there then is no error of a later request."""
    store = open_store(str(empty), create=True)
    one, both = ({name: {"user_id": ["a"], "n": [1]} for name in names} for names in (("x",), ("x", "y")))
    put(store, both)
    x, y = ({"features": [f"{name}:n"], "entities": {"user_id": ["a"]}} for name in ("x", "y"))
    with serving(empty) as server:
        for _ in range(3):
            assert [served(server.ask(ask))["n"]["statuses"] for ask in (x, y)] == [["PRESENT"]] * 2
            put(store, one)
            assert served(server.ask(x))["n"]["statuses"] == ["PRESENT"]
            time.sleep(0.3)  # in which the other one is renewed
            put(store, both)
            assert served(server.ask(y))["n"]["statuses"] == ["PRESENT"]
            put(store, one)
            assert served(server.ask(y))["n"]["statuses"] == ["NOT_EXPORTED"]
            put(store, both)


def test_a_damaged_record(empty: Path) -> None:
    store = open_store(str(empty), create=True)
    put(store, {"activity": {"user_id": ["a", "b"], "n": [1, 2]}})
    with store._environment.begin(write=True) as transaction:  # type: ignore[attr-defined] # a disk does it otherwise
        cursor = transaction.cursor()
        cursor.last()
        key, record = cursor.item()
        transaction.put(key, record[:-1] + bytes([record[-1] ^ 1]))
    asked = [{"features": ["activity:n"], "entities": {"user_id": [user]}} for user in ("a", "b")]
    with serving(empty) as server:
        found = [served(server.ask(one))["n"] for one in asked]
        assert [(each["values"], each["statuses"]) for each in found] == [
            ([1], ["PRESENT"]),
            ([None], ["STORE_FAILED"]),
        ]
        counted = server.metrics()
        assert counted["pit_join_store_errors_total"] == 1
        assert counted['pit_join_feature_values_total{status="STORE_FAILED",view="activity"}'] == 1
    with serving(empty, "--strict") as server:
        answers = [server.ask(one) for one in asked]
        assert [answer.status_code for answer in answers] == [200, 503]
        assert server.says("damaged")
        assert server.metrics()["pit_join_store_errors_total"] == 1


def whole(asking: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    with asking.makefile("rb") as answer:
        return answer.read()


def test_a_url_that_cannot_be_read_stops_the_start() -> None:
    status, said = run("--store", "redis://app:hidden", "serve", "--port", "0")
    assert status == 2
    assert said.startswith("Error: redis://app:*** cannot be read as the URL of an online store: its port is not a ")
    assert said.count("\n") == 1


@pytest.mark.rest
def test_a_request_is_prepared_beside_others(empty: Path) -> None:
    """One that is new waits no longer than its deadline, and is answered when it has been prepared; others go on."""
    put(open_store(str(empty), create=True), {"activity": {"user_id": ["a", "b"], "n": [1, 2]}})
    ask = {"features": ["activity:n"], "entities": {"user_id": ["a"]}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = f"redis://127.0.0.1:{silent.getsockname()[1]}/0?timeout=2"
        with serving(empty, "--deadline", "300 ms", named={"slow": slow}) as server:
            assert server.client.get("/health").status_code == 200
            while (answer := server.ask_once(ask)).status_code == 503:
                assert answer.json()["detail"].startswith("this request is new, or so is the export, and it cannot be")
                assert answer.headers["retry-after"] == "1"
                assert answer.elapsed < timedelta(seconds=1.5)
            assert served(answer)["n"]["values"] == [1]
            new = {**ask, "full_feature_names": True}
            seen = set()
            while (answer := server.ask_once(new)).status_code == 503:
                warm = server.ask(ask)
                seen.add((warm.status_code, served(warm)["n"]["values"][0]))
            assert served(answer)["activity__n"]["values"] == [1]
            assert seen == {(200, 1)}


def test_services_are_prepared_before_the_first_request(empty: Path) -> None:
    """So that the first one meets its deadline, which is a tenth of what preparing it takes."""
    store = open_store(str(empty), create=True)
    wide = {"wide": {"user_id": ["a"], **{f"f{number}": [number] for number in range(10_000)}}}
    put(store, wide)
    request = Request("wide", ("*",), "wide")
    contents = Contents.from_json(store.contents()[1], "the store")
    services = {"all": StoredService((request,), False)}
    with store.writing(1, print) as writer:
        replace_all(writer, replace(contents, services=services).to_json(), {}, contents.views, 1, False)
    with serving(empty, "--deadline", "5 ms") as server:
        entities = {"user_id": ["a"]}
        assert len(server.ask_once({"feature_service": "all", "entities": entities}).json()["results"]) == 10_001


def test_no_secret_of_a_url_is_said(empty: Path) -> None:
    """Neither in an answer, which does not even name the store, nor in the log."""
    (port,) = free_ports(1)
    ask = {"features": ["activity:n"], "entities": {"user_id": ["a"]}}
    store = f"redis://app:hidden@127.0.0.1:{port}/0?username=hidden&password=hidden"
    with serving(store, "--strict") as server:
        paths = ("/ready", "/feature-services", "/metrics", "/openapi.json")
        answers = [server.ask(ask), *map(server.client.get, paths)]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 200, 200]
        assert not [answer for answer in answers if "hidden" in answer.text or "127.0.0.1" in answer.text]
        shown = f"redis://127.0.0.1:{port}/0?username=***&password=***"
        assert server.says(f"{shown} cannot be reached")
        assert not [line for line in server.said if "hidden" in line]


@pytest.mark.redis
def test_redis(tmp_path: Path) -> None:
    """Read in threads: who waits for a server that hangs holds up nobody else."""
    ask = {"features": ["activity:n"], "entities": {"user_id": ["a", "nobody"]}}
    with running(valkey_binary(), tmp_path / "valkey") as redis:
        put(open_store(redis.url, create=True), {"activity": {"user_id": ["a", "b"], "n": [1, 2]}})
        with serving(f"{redis.url}?timeout=2", "--strict", "--deadline", "30 s") as server:
            assert served(server.ask(ask))["n"]["values"] == [1, None]
            redis.process.send_signal(signal.SIGSTOP)
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as asking:
                text = json.dumps(ask)
                head = f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                asking.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
                for _ in range(20):
                    assert server.client.get("/health").elapsed.total_seconds() < 1
                answer = whole(asking)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert server.says("did not answer within")
            redis.process.send_signal(signal.SIGCONT)
            assert served(server.ask(ask))["n"]["values"] == [1, None]
            put(open_store(redis.url), {"activity": {"user_id": ["a"], "n": [7]}})
            assert served(server.ask(ask))["n"]["values"] == [7, None]
            assert server.stop() == 0


# What it tells ------------------------------------------------------------------------------------------------


def test_feature_services(server: Serving) -> None:
    assert server.client.get("/feature-services").json()["feature_services"] == [
        {
            "name": "one",
            "full_feature_names": False,
            "features": [
                {"name": "plan", "feature": "fresh:plan", "type": "string"},
                {"name": "visits", "feature": "fresh:visits", "type": "int64"},
                {"name": "count_7d", "feature": "windows:count_7d", "type": "int64"},
                {"name": "mean_7d", "feature": "windows:mean_7d", "type": "double"},
                {"name": "total_7d", "feature": "windows:total_7d", "type": "decimal(38, 0)"},
            ],
            "keys": [{"name": "id", "type": "integer"}],
            "request_fields": [],
        },
        {
            "name": "two",
            "full_feature_names": True,
            "features": [
                {"name": "mine__count_7d", "feature": "windows:count_7d", "type": "int64"},
                {"name": "theirs__mean_7d", "feature": "windows:mean_7d", "type": "double"},
            ],
            "keys": [{"name": "id", "type": "integer"}, {"name": "other", "type": "integer"}],
            "request_fields": [],
        },
    ]


def test_metrics(golden: Path) -> None:
    with serving(golden) as server:
        for form in (JSON, ARROW, FLOATS):
            ask = {"features": ["windows:count_7d", "windows:mean_7d"], "entities": {"id": [1, 2, 404, None]}}
            assert server.ask(ask, accept=form).status_code == 200
        found = server.metrics()
        values = {name: value for name, value in found.items() if name.startswith("pit_join_feature_values_total")}
        # A matrix has no statuses.
        assert values == {
            'pit_join_feature_values_total{status="PRESENT",view="windows"}': 2 * 3,
            'pit_join_feature_values_total{status="NULL_VALUE",view="windows"}': 2 * 1,
            'pit_join_feature_values_total{status="NOT_FOUND",view="windows"}': 2 * 2,
            'pit_join_feature_values_total{status="NULL_KEY",view="windows"}': 2 * 2,
        }
        assert found[f'pit_join_requests_total{{path="{ASK}",status="200"}}'] == 3
        assert found[f'pit_join_request_seconds_count{{path="{ASK}"}}'] == 3
        assert found[f'pit_join_request_seconds_bucket{{le="+Inf",path="{ASK}"}}'] == 3
        assert found["pit_join_store_errors_total"] == 0
        since = datetime.now().timestamp() - datetime.fromisoformat("2026-03-01T12:00:00+00:00").timestamp()
        assert abs(found['pit_join_view_age_seconds{view="fresh"}'] - since) < 60
        assert found["process_resident_memory_bytes"] > 1e6


def test_the_page_loads_nothing(server: Serving) -> None:
    page = server.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<(script|link|img|iframe)|https?://|@import|url\(", page.text)
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert f" {path}</code>" in page.text


@pytest.mark.rest
def test_the_description_holds_for_whatever_is_sent(server: Serving) -> None:
    """Requests made up from the OpenAPI document: none is a 500, and every answer is as described."""
    assert max(fuzz(server, examples=100)) < 500


# The process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [JSON, ARROW, FLOATS])
def test_keys_of_any_json(server: Serving, golden: Path, form: str) -> None:
    """Whatever stands where a key of whatever kind is wanted: an answer, or what is wrong with it."""
    views = FeatureStore(online_store=golden).online_contents().views
    kinds = {view: list(views[view].keys) for view in ("all_keys", "floats", "pairs", "windows")}
    values = st.recursive(JSON_VALUES, lambda inner: st.lists(inner, max_size=2))
    statuses = set()

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @hypothesis.given(st.sampled_from(list(kinds)), st.lists(values, max_size=2))
    def send(view: str, each: list[Any]) -> None:
        body = json.dumps({"features": [f"{view}:*"], "entities": dict.fromkeys(kinds[view], each)})
        answer = server.client.post(ASK, content=body, headers={"accept": form})
        assert answer.status_code in (200, 422), answer.text
        statuses.add(answer.status_code)
        if answer.status_code == 200 and form == JSON:
            assert all(served(answer)[key]["values"] == each for key in kinds[view])

    send()
    assert statuses == ({200, 422} if form != FLOATS else statuses | {422})


def test_it_finishes_what_it_has_begun(golden: Path) -> None:
    with serving(golden) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as asking:
        text = json.dumps(ONE).encode()
        head = f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\nExpect: 100-continue\r\n\r\n"
        asking.sendall(head.encode())
        assert asking.recv(100).startswith(b"HTTP/1.1 100 ")  # it waits for the body
        server.process.send_signal(signal.SIGTERM)
        refused = False
        while not refused:
            time.sleep(0.01)
            with socket.socket() as another:
                refused = another.connect_ex(("127.0.0.1", server.port)) != 0
        asking.sendall(text)
        answer = whole(asking)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer.split(b"\r\n\r\n")[1])["metadata"] == {"feature_names": ["id", "count_7d"]}
        assert server.process.wait(30) == 0


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_no_packet_is_held_back(server: Serving) -> None:
    """Where the system collects small packets, an answer takes 40 ms, as soon as a connection is not new any more."""
    text = json.dumps({"features": ["all_types:*"], "entities": {"id": [1, 2]}}).encode()
    request = f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
    took = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as asking, asking.makefile("rb") as answers:
        for _ in range(60):
            begun = time.monotonic()
            asking.sendall(request)
            head = list(iter(answers.readline, b"\r\n"))
            answers.read(next(int(line.split()[1]) for line in head if line.startswith(b"content-length:")))
            took.append(time.monotonic() - begun)
    assert min(took[30:]) < 0.03, took


@pytest.mark.rest
def test_workers(golden: Path) -> None:
    with serving(golden, "--workers", "2") as server:
        for _ in range(20):  # each on a connection of its own
            answer = httpx.post(f"http://127.0.0.1:{server.port}{ASK}", json=ONE, timeout=30, trust_env=False)
            assert served(answer)["count_7d"]["values"] == [2]
        assert server.metrics()[f'pit_join_requests_total{{path="{ASK}",status="200"}}'] == 20
        workers = children(server.process.pid)
        assert len(workers) >= 2
        assert server.stop() == 0
    wait_for_the_end_of(workers)  # among them one of Python's own, which ends when it sees that its parent has


def wait_for_the_end_of(workers: list[int]) -> None:
    until = time.monotonic() + 10
    while left := [worker for worker in workers if is_running(worker)]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


@pytest.mark.rest
@pytest.mark.kill
def test_workers_end_with_their_parent(golden: Path) -> None:
    """However it ends; otherwise they would hold the port, and serve for ever."""
    with serving(golden, "--workers", "2") as server:
        assert served(server.ask(ONE))["count_7d"]["values"] == [2]
        workers = children(server.process.pid)
        server.process.kill()
        wait_for_the_end_of(workers)


@pytest.mark.rest
@pytest.mark.kill
def test_a_worker_that_dies_is_replaced_and_counted(golden: Path) -> None:
    with serving(golden, "--workers", "2") as server:
        server.client.close()
        wait_for_starts(server, 2)
        worker = max(children(server.process.pid))
        os.kill(worker, signal.SIGKILL)
        assert server.says(f"the worker {worker} has died (exit status -9); another replaces it")
        wait_for_starts(server, 3)


@pytest.mark.rest
def test_workers_that_all_end_when_they_start_end_the_server(golden: Path, tmp_path: Path) -> None:
    """So that a supervisor sees it, and clients are not left waiting."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif any('spawn_main' in each for each in sys.orig_argv):\n    os._exit(7)\n"
    )
    command = [COMMAND, "--store", str(golden), "serve", "--port", "0", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("Error: the workers end when they start (exit status 7)\n")


def wait_for_starts(server: Serving, number: int) -> None:
    """Each time by a connection of its own."""
    until = time.monotonic() + 30
    metrics = f"http://127.0.0.1:{server.port}/metrics"
    while f"pit_join_worker_starts_total {number}.0" not in httpx.get(metrics, timeout=30, trust_env=False).text:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.rest
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "two"])
def test_a_hangup_ends_it(golden: Path, options: tuple[str, ...]) -> None:
    with serving(golden, *options) as server:
        assert served(server.ask(ONE))["count_7d"]["values"] == [2]
        workers = children(server.process.pid)
        os.killpg(server.process.pid, signal.SIGHUP)  # as a terminal does that is closed
        assert server.process.wait(30) == 0
        wait_for_the_end_of(workers)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.rest
def test_it_loads_neither_dbt_nor_duckdb(golden: Path) -> None:
    code = """
import asyncio, sys, uvicorn
from pit_join.cli import main as cli

async def ask(app):
    body = b'{"feature_service": "one", "entities": {"id": [1]}}'
    scope = {"type": "http", "method": "POST", "path": "/get-online-features", "headers": [], "query_string": b""}
    said = []
    async def receive():
        return {"type": "http.request", "body": body}
    async def send(message):
        said.append(message)
    await app(scope, receive, send)
    print(said[0]["status"])

uvicorn.Server.run = lambda self, sockets: asyncio.run(ask(self.config.app()))
cli.main(["--store", sys.argv[1], "serve", "--port", "0"], standalone_mode=False)
print([m for m in ("dbt", "duckdb", "jinja2", "pandas", "pyarrow", "redis", "yaml") if m in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code, str(golden)], capture_output=True, text=True, check=True)
    assert result.stdout == "200\n[]\n"
