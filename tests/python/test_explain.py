"""Explanations: verdicts by hand, the online value beside them, the command and its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.dbt import Built
from support.pages import DOCS, follow, steps
from support.projects import make_project, run, view

from pit_join import FeatureStore
from pit_join.errors import PitJoinError
from pit_join.training.explanation import OnlineValue, Verdict

pytestmark = pytest.mark.dbt

HISTORY = "entity: user, join_keys: [user_id], created_timestamp: loaded_at, lag: 1 hour, ttl: 2 days, deleted: gone"
COLUMNS = (
    "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}, "
    "{name: loaded_at, data_type: timestamptz}, {name: gone, data_type: boolean}, "
    "{name: n, data_type: integer, config: {meta: {pit_join: {default: 7}}}}, {name: word, data_type: varchar}"
)
ROWS = """
    (1, '2026-03-01 00:00+00', '2026-03-01 00:30+00', false, 1, 'a'),
    (1, '2026-03-02 00:00+00', '2026-03-02 09:00+00', false, 2, 'b'),
    (1, '2026-03-02 00:00+00', '2026-03-02 09:00+00', false, 3, 'c'),
    (1, '2026-03-03 00:00+00', '2026-03-03 00:00+00', null, null, E'\\x1b[31mred'),
    (1, '2026-03-04 00:00+00', '2026-03-04 00:00+00', true, 5, null),
    (1, null, '2026-03-01 00:00+00', false, 6, null),
    (2, '2026-03-01 00:00+00', '2026-03-01 00:00+00', false, 8, null)
"""


@pytest.fixture
def shop(tmp_path: Path) -> FeatureStore:
    project = make_project(tmp_path / "shop", {"plans": view(HISTORY, COLUMNS)})
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            "create table plans (user_id bigint, event_timestamp timestamptz, loaded_at timestamptz, gone boolean, "
            f"n integer, word varchar); insert into plans values {ROWS}"
        )
    return FeatureStore(project)


LATER = "later than the time asked"


def change(shop: FeatureStore, statement: str) -> None:
    with duckdb.connect(str(Path(shop.online_store).parents[1] / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(statement)


def verdicts(shop: FeatureStore, at: str, **options: Any) -> list[tuple[Any, str]]:
    found = shop.explain("plans:n", {"user_id": 1}, at, online=False, **options)
    return [(row.values[0], row.verdict.value) for row in found.rows]


def test_the_verdicts_by_hand(shop: FeatureStore) -> None:
    none = (6, "no time")
    assert verdicts(shop, "2026-03-02 09:00") == [
        (1, "superseded"), (2, "tie lost"), (3, "chosen"), (None, LATER), (5, LATER), none,
    ]  # fmt: skip
    assert verdicts(shop, "2026-03-02 08:59") == [
        (1, "chosen"), (2, "not yet known"), (3, "not yet known"), (None, LATER), (5, LATER), none,
    ]  # fmt: skip
    assert verdicts(shop, "2026-03-04 00:59", gap="1 day")[0:3] == [
        (1, "superseded"), (2, "tie lost"), (3, "chosen"),
    ]  # fmt: skip
    assert verdicts(shop, "2026-03-04 01:00")[-2:] == [(5, "deleted"), none]
    assert shop.explain("plans:n", {"user_id": 2}, "2026-03-09", online=False).rows[0].verdict is Verdict.TOO_OLD
    assert verdicts(shop, "2026-03-02 09:00", around=0) == [(3, "chosen")]
    found = shop.explain("plans", {"user_id": "1"}, "2026-03-03 02:00", online=False)
    assert (found.values, found.defaulted) == ({"n": 7, "word": "\x1b[31mred"}, ("n",))
    assert found.statuses == {"n": "NULL_VALUE", "word": "PRESENT"}
    assert found.keys == {"user_id": 1}
    assert found.counts == {"rows": 6, "undated": 1, "known": 4, "before": 4, "after": 1}
    assert [row.position for row in found.rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("select 1", None),
        ("update plans set n = 9 where n = 3", "the row of 2026-03-02 .* has other values of n now"),
        ("delete from plans where n in (2, 3)", "the row of 2026-03-02 .* is not in the warehouse any more"),
        (
            "insert into plans values (1, '2026-03-02 10:00+00', '2026-03-02 10:00+00', false, 4, null)",
            "the warehouse has a row of 2026-03-02 10:00:00.* came later than its times say",
        ),
        ("delete from plans where user_id = 1", "the row of .* is not in the warehouse any more"),
    ],
    ids=["equal", "changed", "removed", "late", "gone"],
)
def test_why_the_online_value_differs(shop: FeatureStore, statement: str, why: str | None) -> None:
    shop.export(as_of="2026-03-02 12:00")
    change(shop, statement)
    online = shop.explain("plans:n", {"user_id": 1}, "2026-03-01 12:00").online
    assert isinstance(online, OnlineValue)
    assert (online.values, online.statuses) == ({"n": 3}, {"n": "PRESENT"})
    assert online.equal == (why is None)
    assert re.search(why or "^$", " ".join(online.why))


def test_without_an_export(shop: FeatureStore) -> None:
    for online in (True, False):
        found = shop.explain("plans:n", {"user_id": 1}, "2026-03-02 12:00", online=online)
        assert (found.values, found.statuses) == ({"n": 3}, {"n": "PRESENT"})
    assert found.online is None
    said = shop.explain("plans:n", {"user_id": 1}, "2026-03-02 12:00").online
    assert isinstance(said, str)
    assert "pit-join export" in said


@pytest.mark.parametrize(
    ("feature", "keys", "at", "says"),
    [
        ("plan:n", {"user_id": 1}, "2026-03-02", "unknown feature view 'plan'; did you mean 'plans'"),
        ("plans:m", {"user_id": 1}, "2026-03-02", "view 'plans' has no feature 'm'"),
        ("plans:n", {"user": 1}, "2026-03-02", "view 'plans' has no key 'user'; did you mean 'user_id'"),
        ("plans:n", {}, "2026-03-02", "view 'plans' needs a value for every key; give user_id"),
        ("plans:n", {"user_id": "one"}, "2026-03-02", "^the key 'user_id' is of type BIGINT, and 'one' is not; give a"),
        ("plans:n", {"user_id": "1.4"}, "2026-03-02", r"is of type BIGINT, and '1\.4' is not"),
        ("plans:n", {"user_id": 2**70}, "2026-03-02", f"is of type BIGINT, and {2**70} is not"),
        ("plans:n", {"user_id": "\ud800"}, "2026-03-02", r"is of type BIGINT, and '\\ud800' is not"),
        ("plans:n", {"user_id": True}, "2026-03-02", "is of type BIGINT, and True is not"),
        ("plans:n", {"user_id": object}, "2026-03-02", "is of type BIGINT, and <class 'object'> is not"),
        ("plans:n", {"user_id": 1}, "soon", "cannot read the instant 'soon'"),
        ("plans:n", {"user_id": 1}, "2026-03-02", None),
    ],
)
def test_bad_questions(shop: FeatureStore, feature: str, keys: dict[str, Any], at: str, says: str | None) -> None:
    if says is None:
        shop.explain(feature, keys, at)
        return
    with pytest.raises(PitJoinError, match=says):
        shop.explain(feature, keys, at)


def test_the_command(shop: FeatureStore) -> None:
    project = str(Path(shop.online_store).parents[1])
    asked = (
        "--project-dir",
        project,
        "explain",
        "--feature",
        "plans",
        "--entity",
        "user_id=1",
        "--at",
        "2026-03-03 02:00",
    )
    done = run(*asked)
    assert done.status == 0
    assert "\x1b" not in done.out, "a value must not be able to write to the terminal"
    assert "\\x1b[31mred" in done.out
    assert "=>  2026-03-03 00:00:00" in done.out
    assert "n = 7, the declared default (NULL_VALUE, 2.0 h old)" in done.out
    found = json.loads(run(*asked, "--json", "--around", "1").out)
    assert [row["verdict"] for row in found["rows"]] == ["chosen", LATER, "no time"]
    assert (found["at"], found["event"]) == ("2026-03-03T02:00:00Z", "2026-03-03T00:00:00Z")
    assert run(*asked[:-2]).status == 2
    assert run(*asked, "--entity", "user_id").status == 2


@pytest.mark.parametrize("around", [-1, None, 10**20])
def test_around_is_a_number_of_rows(shop: FeatureStore, around: Any) -> None:
    with pytest.raises(PitJoinError, match="around is a number of rows from 0 to 1,000,000, and not"):
        shop.explain("plans:n", {"user_id": 1}, "2026-03-02", around=around)


def test_a_static_view_with_a_uuid_as_key(tmp_path: Path) -> None:
    columns = "{name: k, data_type: uuid}, {name: opens, data_type: time}"
    project = make_project(
        tmp_path / "shop", {"shops": view("entity: shop, join_keys: [k], static: true, online: false", columns, "")}
    )
    key = "6f8b1c1e-0000-4000-8000-0000000000ab"
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute(f"create table shops as select '{key}'::uuid as k, time '09:30' as opens")
    asked = (
        "--project-dir",
        str(project),
        "explain",
        "--feature",
        "shops",
        "--entity",
        f"k={key}",
        "--at",
        "2026-03-03",
    )
    done = run(*asked)
    assert (done.status, "opens = 09:30:00 (PRESENT)" in done.out) == (0, True), done.err
    found = json.loads(run(*asked, "--json").out)
    assert (found["keys"], found["values"]) == ({"k": key}, {"opens": "09:30:00"})
    assert [(row["event"], row["known_from"], row["verdict"]) for row in found["rows"]] == [(None, None, "chosen")]


@pytest.mark.rest
def test_the_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "explain.md"), copy_of(demo).directory) == []
