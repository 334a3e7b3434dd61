"""What is declared sensitive is in no file beside the store, and in no line: it is planted and looked for.

Every search is made of the same project without the declarations, too, where it must find what was planted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from http_servers import serving
from support.feature_logs import files, rows_of
from support.projects import KEYS, Result, make_project, run, view
from support.receivers import http_receiver
from support.reports import content_of

from pit_join import FeatureLog, FeatureStore, Skew
from pit_join.errors import StoreError, WarehouseError
from pit_join.records.store_manifest import Contents

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
AT = "2026-03-01 12:00"
USERS = 600
SENSITIVE = "sensitive: true"
TIME = "{name: event_timestamp, data_type: timestamptz}"
EXPOSURE = """
exposures:
  - name: everything
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: [ref('profile'), ref('health'), ref('cards')]
    config:
      meta:
        pit_join:
          features: ['profile:*', 'health:word', 'cards:*',
            {on_demand: joined, as: graded, arguments: {one: 'profile:grade', other: note}},
            {on_demand: joined, as: carded, arguments: {one: card_id, other: greeting}},
            {on_demand: joined, as: planned, arguments: {one: 'profile:plan', other: greeting}}]
"""
ROLES = """
  - name: roles
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: [ref('profile'), ref('health')]
    config:
      meta:
        pit_join:
          features: ['health:word', {view: profile, as: friend, join_keys: {user_id: person_id}, features: [plan]},
            {view: profile, as: other, join_keys: {user_id: other_id}, features: [plan]},
            {on_demand: joined, as: graded, arguments: {one: 'other:grade', other: greeting}},
            {on_demand: joined, as: planned, arguments: {one: 'other:plan', other: greeting}}]
"""
MACRO = "{% macro joined(one, other) %}{{ one }} || '/' || {{ other }}{% endmacro %}"
MACRO_YAML = """
macros:
  - name: joined
    config: {meta: {pit_join: {returns: varchar}}}
    arguments: [{name: one, type: varchar}, {name: other, type: varchar}]
"""
PLANTED = ("secret-grade", "secret-word", "secret-person", "secret-card", "secret-note")
OPEN = ("open-plan", "open-limit", "open-hello", "open-user")


def views(declared: str) -> dict[str, str]:
    """A view with a sensitive column, one that is sensitive as a whole, and one whose key column is; or none is."""
    column = f"config: {{meta: {{pit_join: {{default: open-default{', ' + declared if declared else ''}}}}}}}"
    key = f", config: {{meta: {{pit_join: {{{declared}}}}}}}" if declared else ""
    whole = f", {declared}" if declared else ""
    return {
        "profile": view(
            KEYS,
            f"{{name: user_id, data_type: varchar}}, {TIME}, {{name: plan, data_type: varchar}}, "
            f"{{name: grade, data_type: varchar, {column}}}",
        ),
        "health": view(
            f"entity: person, join_keys: [person_id]{whole}",
            f"{{name: person_id, data_type: varchar}}, {TIME}, {{name: word, data_type: varchar}}",
        ),
        "cards": view(
            "entity: card, join_keys: [card_id]",
            f"{{name: card_id, data_type: varchar{key}}}, {TIME}, {{name: limit_text, data_type: varchar}}",
        ),
    }


@dataclass
class Clinic:
    """A project with 600 users, its store, and what that has served."""

    folder: Path

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.folder)

    def sql(self, statement: str) -> None:
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(statement)

    def fill(self) -> None:
        """Fill the tables; every third grade and word is null."""
        users = f"from range({USERS}) as r(n)"
        at = "timestamptz '2026-03-01 11:00:00+00' as event_timestamp"
        for name, values in {
            "profile": "'open-user-' || n as user_id, 'open-plan-' || n % 3 as plan, "
            "case when n % 3 > 0 then 'secret-grade-' || n % 2 end as grade",
            "health": "'secret-person-' || n as person_id, "
            "case when n % 3 > 0 then 'secret-word-' || n % 2 end as word",
            "cards": "'secret-card-' || n as card_id, 'open-limit-' || n % 2 as limit_text",
        }.items():
            self.sql(f"create or replace table {name} as select {values}, {at} {users}")

    def entity_rows(self) -> list[dict[str, str]]:
        return [
            {
                "user_id": f"open-user-{n}", "person_id": f"secret-person-{n}", "card_id": f"secret-card-{n}",
                "note": "secret-note", "greeting": "open-hello",
            }
            for n in range(USERS)
        ]  # fmt: skip

    def serve(self, log: str = "log") -> Path:
        """Serve all users together, and one of them alone."""
        feature_log = FeatureLog(self.folder / log, 1.0)
        reader = FeatureStore(self.folder, feature_log=feature_log).online_reader("everything")
        reader.get_online_features(self.entity_rows(), now=NOON)
        reader.get(self.entity_rows()[1], now=NOON)
        assert feature_log.close()
        assert feature_log.logged == USERS + 1
        return self.folder / log

    def train(self) -> Path:
        path = self.folder / "set.parquet"
        spine = pd.DataFrame(self.entity_rows()).assign(event_timestamp=NOON)
        self.store.get_historical_features(spine, "everything").write(path)
        return path

    def run(self, *arguments: str) -> Result:
        """The command in the project."""
        found = run("--project-dir", str(self.folder), *arguments)
        assert found.status in (0, 1, 3), found.err
        return found

    def skew(self, log: Path) -> Skew:
        found = self.store.monitor(log, checks=["skew"], now=NOON).skew
        assert found is not None
        return found


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Clinic]:
    """The project with its declarations, and without; exported, with a log and a training set."""
    found = {}
    for declared in (True, False):
        folder = tmp_path_factory.mktemp("clinic") / "clinic"
        make_project(folder, views(SENSITIVE if declared else ""), EXPOSURE + ROLES)
        (folder / "macros").mkdir()
        (folder / "macros" / "m.sql").write_text(MACRO)
        (folder / "macros" / "m.yml").write_text(MACRO_YAML)
        clinic = found[declared] = Clinic(folder)
        clinic.fill()
        clinic.store.export(as_of=NOON)
        clinic.serve()
        clinic.train()
    return found


@pytest.fixture
def copy_of(projects: dict[bool, Clinic], tmp_path: Path) -> Callable[[bool], Clinic]:
    def copy(declared: bool) -> Clinic:
        folder = tmp_path / str(declared)
        shutil.copytree(projects[declared].folder, folder)
        return Clinic(folder)

    return copy


def texts_of(path: Path) -> str:
    """All that a file holds, and of a compressed one what it holds when it is read."""
    found = path.read_bytes().decode("utf-8", errors="replace")
    if path.suffix == ".parquet":
        table, metadata = pq.read_table(path), pq.read_metadata(path)
        groups = [metadata.row_group(number).to_dict() for number in range(metadata.num_row_groups)]
        found += f"{table.to_pylist()} {table.schema.metadata} {metadata.metadata} {groups}"
    return found


def planted_in(text: str) -> set[str]:
    return {each for each in PLANTED if each in text}


@pytest.mark.parametrize("declared", [True, False])
def test_the_feature_log_has_nulls_and_statuses(projects: dict[bool, Clinic], declared: bool) -> None:
    log = projects[declared].folder / "log"
    text = "".join(map(texts_of, files(log)))
    assert planted_in(text) == (set() if declared else set(PLANTED))
    assert all(each in text for each in OPEN)
    rows = rows_of(log)
    assert [each["features"]["grade"]["status"] for each in rows[:4]] == [
        "NULL_VALUE",
        "PRESENT",
        "PRESENT",
        "NULL_VALUE",
    ]
    assert rows[1]["features"]["planned"]["value"] == "open-plan-1/open-hello"
    about = json.loads(pq.read_schema(files(log)[0]).metadata[b"pit_join_feature_log"])
    unlogged = {
        "features": ["carded", "grade", "graded", "word"],
        "fields": ["card_id", "note"],  # one that only a sensitive feature takes, and one that is a key
        "keys": ["card_id", "person_id"],
    }
    assert about.get("unlogged") == (unlogged if declared else None)


@pytest.mark.parametrize("declared", [True, False])
def test_no_file_and_no_line_has_them(copy_of: Callable[[bool], Clinic], declared: bool) -> None:
    """Everything sensitive was changed after it was served, so that all commands have something to say of it."""
    clinic = copy_of(declared)
    clinic.sql("update profile set grade = replace(grade, 'secret', 'other secret')")
    clinic.sql("update profile set plan = 'open-plan-new' where user_id = 'open-user-7'")
    clinic.sql("update health set word = 'secret-word-new'")
    clinic.sql("update cards set limit_text = 'open-limit-new'")
    before = set(clinic.folder.rglob("*"))
    with http_receiver(*[204] * 9) as receiver:
        monitor = ("monitor", "--now", AT, "--log", "log", "--baseline", "set.parquet", "--webhook", receiver.url)
        arguments = [str(clinic.folder / each) if each in ("log", "set.parquet") else each for each in monitor]
        arguments += ["--textfile", str(clinic.folder / "checks.prom")]
        table, text = clinic.run(*arguments), clinic.run(*arguments, "--json")
        posted = "".join(body.decode() for _, _, body in receiver.posts)
    for each in (table, text):
        assert planted_in(each.out + each.err) == (set() if declared else set(PLANTED))
    assert json.loads(text.out).keys() == {"freshness", "rates", "drift", "skew"}
    for name, secrets in (
        ("profile", {"secret-grade"}),
        ("health", {"secret-word", "secret-person"}),
        ("cards", {"secret-card"}),
    ):
        for more in ((), ("--json",)):
            found = clinic.run("verify", "--all", "--select", name, *more)
            assert planted_in(found.out + found.err) == (set() if declared else secrets)
    assert '"breaches"' in posted
    assert planted_in(posted) == set()
    written = {path for path in clinic.folder.rglob("*") if path.is_file()} - before
    names = {path.suffix for path in written}
    assert {".prom", ".parquet"} <= names
    kept = {"secret-grade", "secret-word", "secret-note"}  # as categories of drift
    assert planted_in("".join(map(texts_of, written))) == (set() if declared else kept)


@pytest.mark.parametrize("declared", [True, False])
def test_a_training_set_says_nothing_of_them(projects: dict[bool, Clinic], declared: bool) -> None:
    said = pq.read_metadata(projects[declared].folder / "set.parquet").metadata[b"pit_join"].decode()
    found = {
        "secret-grade",
        "secret-word",
        "secret-card",
        "secret-note",
    }  # note is part of a value; keys are no feature
    assert planted_in(said) == (set() if declared else found)
    assert "open-plan" in said


@pytest.mark.parametrize("declared", [True, False])
def test_the_page_hides_what_was_asked_on_a_terminal(copy_of: Callable[[bool], Clinic], declared: bool) -> None:
    clinic, options = copy_of(declared), []
    clinic.sql("update profile set grade = 'secret-grade-2'")
    clinic.sql("update health set word = 'secret-word-2'")
    asked = [("profile:grade", "user_id=open-user-1"), ("health:word", "person_id=secret-person-1")]
    asked.append(("cards:limit_text", "card_id=secret-card-1"))
    for number, (feature, entity) in enumerate(asked):
        path = clinic.folder / f"{number}.json"
        path.write_text(clinic.run("explain", "--feature", feature, "--entity", entity, "--at", AT, "--json").out)
        assert planted_in(path.read_text()), "a person who asks for a value sees it"
        options += ["--explain", str(path)]
    path = clinic.folder / "audit.json"
    path.write_text(clinic.run("audit", str(clinic.folder / "set.parquet"), "--json").out)
    assert planted_in(path.read_text()) >= {"secret-grade", "secret-word"}
    page = clinic.folder / "page.html"
    clinic.run("report", "--output", str(page), *options, "--audit", str(path))
    assert planted_in(json.dumps(content_of(page)) + page.read_text()) == (set() if declared else set(PLANTED))


@pytest.mark.slow
def test_a_server_says_nothing_of_them(projects: dict[bool, Clinic], tmp_path: Path) -> None:
    """Its lines have no values and keys anyway; its log is that of Python."""
    store, row = projects[True].store.online_store, projects[True].entity_rows()[1]
    options = ("--feature-log", str(tmp_path / "log"), "--log-sample", "1")
    with serving(store, *options, "--now", "2026-03-01 11:00") as server:
        asked = {"feature_service": "everything", "entities": {name: [value] for name, value in row.items()}}
        assert "secret-grade" in server.ask(asked).text
        wrong = {"feature_service": "everything", "entities": {**asked["entities"], "person_id": [["secret-person"]]}}
        assert server.ask(wrong).status_code >= 400
        shown = server.client.get("/metrics").text
        assert server.stop() == 0
    assert "pit_join_requests" in shown
    assert any("serves" in line for line in server.said)
    assert planted_in("\n".join([shown, *server.said])) == set()
    assert [each["features"]["grade"] for each in rows_of(tmp_path / "log")] == [{"value": None, "status": "PRESENT"}]


# Monitoring ---------------------------------------------------------------------------------------------------------


def test_rows_without_values_are_not_compared_and_no_alarm(projects: dict[bool, Clinic]) -> None:
    skew = projects[True].skew(projects[True].folder / "log")
    rows = USERS + 1
    counted = {
        each.feature if each.view != "on_demand" else each.role: (each.match, each.not_compared)
        for each in skew.features
    }
    assert counted == {
        "plan": (rows, 0), "planned": (rows, 0),
        **dict.fromkeys(("grade", "word", "limit_text", "graded", "carded"), (0, rows)),
    }  # fmt: skip
    sentences = [
        "cards is not compared: its key card_id is sensitive, and not in the log",
        "health is not compared: its key person_id is sensitive, and not in the log",
        "profile:grade is not compared: its values are sensitive, and not in the log",
        "the on-demand feature 'joined' is not compared: its values are sensitive, and not in the log",
    ]
    assert [each.rpartition(": ")[0] for each in skew.changes] == sentences
    assert not skew.found
    # An alert on what could not be judged would never end.
    assert {each.feature for each in skew.results if each.bound is not None} == {"plan", "joined"}
    assert projects[False].skew(projects[False].folder / "log").changes == ()


def test_a_log_of_before_the_declaration_shows_no_values(
    projects: dict[bool, Clinic], copy_of: Callable[[bool], Clinic]
) -> None:
    """Rows that have the values are compared, and the findings do not quote them."""
    clinic, log = copy_of(True), projects[False].folder / "log"
    for table, column, value in (("profile", "grade", "secret-grade"), ("health", "word", "secret-word")):
        clinic.sql(f"update {table} set {column} = '{value}-new'")
    clinic.sql("update cards set limit_text = 'open-limit-new'")
    skew = clinic.skew(log)
    assert {each.feature: each.different for each in skew.features if each.view != "on_demand"} == {
        "grade": USERS + 1, "word": USERS + 1, "limit_text": USERS + 1, "plan": 0,
    }  # fmt: skip
    examples = {each.feature: each.examples[0] for each in skew.features if each.examples}
    assert examples.keys() == {"grade", "word", "limit_text", "joined"}
    assert set(examples["grade"].keys) == {"user_id"}
    assert [examples[name].sensitive for name in ("grade", "word", "limit_text", "joined")] == [True, True, False, True]
    shown = clinic.run("monitor", "--check", "skew", "--log", str(log)).out + skew._repr_html_()
    assert "a sensitive value (PRESENT), not that of the rule (PRESENT)" in shown
    assert "open-limit" in shown
    assert planted_in(shown + json.dumps(skew.as_json())) == set()


@pytest.mark.parametrize("baseline", ["log", "set.parquet"])
def test_nulls_of_what_is_not_in_the_log_are_counted(copy_of: Callable[[bool], Clinic], baseline: str) -> None:
    clinic = copy_of(True)
    path = clinic.folder / baseline

    def drifted(log: Path) -> dict[str, str]:
        found = clinic.store.monitor(log, checks=["drift"], now=NOON, baseline=path)
        assert not found.unchecked
        return {each.feature: each.text for each in found.breaches}

    assert drifted(clinic.folder / "log") == {}
    clinic.sql("update profile set grade = case when user_id like '%0' then 'secret-grade' end")
    clinic.sql("update health set word = null")
    clinic.store.export(as_of=NOON + timedelta(minutes=1))
    found = drifted(clinic.serve("later"))
    # The grade has a default, so it is never null; what is computed from it is not either.
    assert found.keys() == {"word"}
    assert "null 33.3% -> 100.0%" in found["word"]
    rates = clinic.store.monitor(clinic.folder / "later", checks=["rates"], now=NOON).rates
    assert rates is not None
    served = {each.feature: each.null_rate for each in rates.features if each.place == "served"}
    assert (served["word"], served["plan"]) == (1, 0)
    assert served["grade"] == pytest.approx(0.9, abs=0.01)


def test_roles_share_a_hidden_key_and_arguments_may_be_of_roles(copy_of: Callable[[bool], Clinic]) -> None:
    clinic = copy_of(True)
    row = {"person_id": "open-user-1", "other_id": "open-user-2", "greeting": "open-hello"}
    feature_log = FeatureLog(clinic.folder / "roles", 1.0)
    FeatureStore(clinic.folder, feature_log=feature_log).online_reader("roles").get(row, now=NOON)
    assert feature_log.close()
    (logged,) = rows_of(clinic.folder / "roles")
    assert logged["keys"] == {"person_id": None, "other_id": "open-user-2"}
    assert logged["fields"] == {"greeting": "open-hello"}  # which a plain feature takes, too
    values = {name: each["value"] for name, each in logged["features"].items()}
    assert values == {
        "word": None, "friend__plan": "open-plan-1", "other__plan": "open-plan-2", "graded": None,
        "planned": "open-plan-2/open-hello",
    }  # fmt: skip
    skew = clinic.skew(clinic.folder / "roles")
    assert {each.role: (each.match, each.not_compared) for each in skew.features} == {
        "health": (0, 1), "friend": (0, 1), "other": (1, 0), "graded": (0, 1), "planned": (1, 0),
    }  # fmt: skip
    assert "profile is not compared: its key person_id is sensitive, and not in the log: 1 rows" in skew.changes
    path = clinic.folder / "roles.parquet"
    clinic.store.get_historical_features(pd.DataFrame([row]).assign(event_timestamp=NOON), "roles").write(path)
    statistics = json.loads(pq.read_metadata(path).metadata[b"pit_join"])["statistics"]
    assert {name: each["profile"]["kind"] for name, each in statistics.items()} == {
        "word": "other", "friend__plan": "text", "other__plan": "text", "graded": "other", "planned": "text",
    }  # fmt: skip


# The store ----------------------------------------------------------------------------------------------------------


def test_the_store_says_what_is_sensitive_and_verify_says_when_it_does_not(
    projects: dict[bool, Clinic], copy_of: Callable[[bool], Clinic]
) -> None:
    described = projects[True].store.online_contents()
    assert {name: (view.sensitive, view.hides_keys) for name, view in described.views.items()} == {
        "profile": (("grade",), False), "health": (("word",), True), "cards": ((), True),
    }  # fmt: skip
    plain = projects[False].store.online_contents()
    assert b"sensitive" not in plain.to_json()
    assert b"hides_keys" not in plain.to_json()
    again = Contents.from_json(described.to_json(), "it")
    assert again.to_json() == described.to_json()
    clinic = copy_of(True)
    shutil.rmtree(clinic.folder / "online")
    shutil.copytree(projects[False].folder / "online", clinic.folder / "online")
    said = clinic.run("verify").out
    for each in ("profile", "health", "cards"):
        assert f"the feature view '{each}' has another list of what is sensitive in the store: nothing, now " in said
    clinic.store.export(as_of=NOON)
    assert "sensitive" not in clinic.run("verify").out


@pytest.mark.parametrize("wrong", [{"sensitive": "grade"}, {"sensitive": [1]}, {"hides_keys": "yes"}])
def test_a_note_that_cannot_be_read_is_damage(projects: dict[bool, Clinic], wrong: dict[str, object]) -> None:
    contents = json.loads(projects[True].store.online_contents().to_json())
    del contents["checksum"]
    contents["views"]["profile"] |= wrong
    with pytest.raises(StoreError, match="it is damaged: its contents cannot be read"):
        Contents.from_json(json.dumps(contents).encode(), "it")


def test_a_default_that_has_changed_is_not_quoted(copy_of: Callable[[bool], Clinic]) -> None:
    for declared in (True, False):
        clinic = copy_of(declared)
        models = clinic.folder / "models" / "models.yml"
        models.write_text(models.read_text().replace("open-default", "secret-grade-default"))
        said = clinic.run("verify").out
        assert "'profile' has another default in the store" in said
        assert planted_in(said) == (set() if declared else {"secret-grade"})


def test_a_doubled_key_is_not_quoted(copy_of: Callable[[bool], Clinic]) -> None:
    for declared in (True, False):
        clinic = copy_of(declared)
        models = clinic.folder / "models" / "models.yml"
        listed = models.read_text().replace(
            "event_time: event_timestamp, meta: {pit_join: {entity: person",
            "meta: {pit_join: {static: true, entity: person",
        )
        models.write_text(listed)
        clinic.sql("insert into health from health limit 1")
        with pytest.raises(WarehouseError, match="the view is static, so a key has one row") as error:
            clinic.store.export(as_of=NOON)
        assert planted_in(str(error.value)) == (set() if declared else {"secret-person"})
