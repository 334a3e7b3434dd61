"""Each mistake of the table in docs/checks.md, in one project: `dbt build` and `pit-join check` find all at once."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
from support.dbt import ROOT, run_dbt
from support.pages import DOCS, table
from support.projects import BASE, KEYS, VALUE, make_project, run, view

pytestmark = pytest.mark.dbt


def column(name: str, kind: str, meta: str) -> str:
    return f"{{name: {name}, data_type: {kind}, config: {{meta: {{pit_join: {{{meta}}}}}}}}}"


INTERVAL = "{name: value, data_type: interval}"
NESTED = "{name: value, data_type: 'int[][]'}"
SUM = "{name: x, function: sum, column: value, window: 1 day"
VIEWS = {
    "good": view(KEYS, f"{BASE}, {VALUE}"),
    "other": view(KEYS, f"{BASE}, {VALUE}"),
    "durations": view(f"{KEYS}, ttl: 0 days, lag: a while", f"{BASE}, {VALUE}"),
    "settings": view(f"{KEYS}, ttll: 3 days, lag: ", f"{BASE}, {VALUE}"),
    "kinds": view(f"{KEYS}, online: 1", f"{BASE}, {VALUE}"),
    "times": view(f"{KEYS}, deleted: gone", f"{BASE}, {VALUE}", event_time=""),
    "lists": view("entity: b, join_keys: [user_id, user_id, nobody]", f"{BASE}, {VALUE}"),
    "types": view(
        "entity: c, join_keys: [value]", f"{BASE}, {{name: value, data_type: interval}}, {{name: v, data_type: int}}"
    ),
    "keys": view("entity: user, join_keys: [value]", f"{BASE}, {VALUE}"),
    "defaults": view(KEYS, f"{BASE}, {column('value', 'bigint', 'default: none')}"),
    "untyped": view(KEYS, f"{BASE}, {{name: value}}"),
    "windows": view(f"{KEYS}, aggregations: [{SUM.replace('1 day', '1 week')}}}]", f"{BASE}, {VALUE}"),
    "stored": view(KEYS, f"{BASE}, {VALUE}", more="materialized: ephemeral, "),
    "misspelt": f"    config: {{meta: {{pitjoin: {{{KEYS}}}}}}}\n",
    "no_view": f"    columns: [{column('value', 'bigint', 'default: 0')}]\n",
    "elsewhere": f"    config: {{pit_join: {{{KEYS}}}}}\n",
    "formless": view(KEYS, f"{BASE}, {INTERVAL}"),
    "unstorable": view(KEYS, f"{BASE}, {NESTED}"),
    "lacking": view(KEYS, f"{BASE}, {VALUE}"),
    "casts": view(KEYS, f"{BASE}, {column('value', 'date', 'default: soon')}"),
    "conditions": view(f"{KEYS}, aggregations: [{SUM}, where: 'value >'}}]", f"{BASE}, {VALUE}"),
}
VERSIONS = """
  - name: prefs
    latest_version: 2
    config: {event_time: event_timestamp, meta: {pit_join: {entity: user, join_keys: [user_id]}}}
    columns:
      - {name: user_id, data_type: varchar}
      - {name: event_timestamp, data_type: timestamptz}
      - {name: value, data_type: double}
    versions: [{v: 1}, {v: 2, config: {meta: {pit_join: {online: false}}}}, {v: 3}]
sources:
  - name: raw
    tables:
      - {name: events, config: {meta: {pit_join: {entity: user}}}}
      - {name: clicks, config: {meta: {pit_join: {known: at}}}}
      - {name: visits, config: {meta: {pit_join: {known_at: 3}}}}
exposures:
"""
SERVICES = {
    "references": ("ml", "'good', 'good:value:x'"),
    "unknown": ("ml", "'goood:value', 'prefs.v7:value', 'good:valu'"),
    "names": ("ml", "'good:value', 'other:value'"),
    "roles": ("ml", "'good:value', {view: good, join_keys: {user_id: x}, features: ['*']}"),
    "depends": ("ml", "'prefs.v1:value'"),
    "board": ("dashboard", "'good:value'"),
}
MACROS = """
macros:
  - {name: typed, config: {meta: {pit_join: {returns: duoble}}}, arguments: [{name: amount, type: double}]}
  - {name: lucky, config: {meta: {pit_join: {returns: double}}}, arguments: [{name: amount, type: double}]}
  - {name: absent, config: {meta: {pit_join: {returns: double}}}, arguments: [{name: amount, type: double}]}
"""
# The patterns of each row's messages, in the order of the table.
SAID: list[list[str]] = [
    [r"models\.yml: durations: ttl: is '0 days'", r"models\.yml: durations: lag: cannot read the duration 'a while'"],
    [r"settings: config\.meta\.pit_join\.ttll: unknown key", r"settings: config\.meta\.pit_join\.lag: is empty"],
    ["kinds: online: must be true or false, got 1"],
    [r"times: config\.event_time: is missing", "times: deleted: no column 'gone' is listed"],
    ["lists: join_keys: a column is listed twice", "lists: join_keys: no column 'nobody' is listed"],
    ["types: join_keys: the column 'value' is of type interval"],
    [r"formless: columns\.value: is of type interval"],
    ["keys: join_keys: views of one entity share its keys"],
    [
        "good: name: two feature views have this name",
        "roles: name: two feature services have this name",
        r"no_view: name: ref\('no_view'\) finds models/models\.yml of the package shop, and not this feature view of "
        "the package bought; rename or disable one of the two",
    ],
    [r"raw\.clicks: config\.meta\.pit_join\.known: unknown key", r"raw\.visits: .*known_at: must be a column"],
    [r"defaults: columns\.value\.default: 'none' is not a whole number"],
    [r"untyped: columns\.value: has no data_type"],
    [r"windows: aggregations\.x\.window: cannot read the duration '1 week'"],
    [r"stored: config\.materialized: an ephemeral model has no relation"],
    ["references: features: cannot read the reference 'good'", "features: cannot read the reference 'good:value:x'"],
    ["unknown feature view 'goood'", r"unknown feature view 'prefs\.v7'", "view 'good' has no feature 'valu'"],
    ["names: features: both good:value and other:value would be named value"],
    ["roles: features: 'good' is used in two meanings"],
    [r"depends: depends_on: does not list ref\('prefs', v=1\), which its features need"],
    ["board: type: a feature service is an exposure of type ml, got 'dashboard'"],
    ["typed: returns: 'duoble' is not a type that DuckDB knows"],
    [r"misspelt: config\.meta\.pitjoin: is not read; did you mean pit_join\?"],
    [r"raw\.events: config\.meta\.pit_join: a source cannot be", r"no_view: columns\.value\..*: has no effect"],
    [r"elsewhere: config\.pit_join: is not read"],
    ["absent: this entry of macros has no file", r"prefs.*v3: this entry of models has no file"],
    ["lucky: random does not give the same value"],
    [r"unstorable: columns\.value: is of type int\[\]\[\], which the online store cannot hold"],
    [r"prefs\.v2: online: is false for the latest version"],
    ["lacking: the table of the feature view 'lacking' has no column 'value'"],
    [r"casts: columns\.value\.default: 'soon' does not fit the type date"],
    [r"conditions: aggregations\.x\.where: 'value >'"],
]


def service(name: str, kind: str, features: str) -> str:
    return (
        f"  - {{name: {name}, type: {kind}, owner: {{email: a@b.example}}, depends_on: [ref('good'), ref('other')], "
        f"config: {{meta: {{pit_join: {{features: [{features}]}}}}}}}}\n"
    )


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    services = "".join(service(name, *rest) for name, rest in SERVICES.items())
    shop = make_project(tmp_path_factory.mktemp("wrong") / "shop", VIEWS, VERSIONS + services)
    package = make_project(
        shop / "dbt_packages" / "bought", dict.fromkeys(("good", "no_view"), VIEWS["good"]), macros=False
    )
    (package / "dbt_project.yml").write_text("name: bought\nmodels: {+schema: bought}\n")
    (package / "models" / "services.yml").write_text("exposures:\n" + service("roles", "ml", "'good:value'"))
    (shop / "macros").mkdir()
    (shop / "macros" / "macros.yml").write_text(MACROS)
    bodies = {"typed": "{{ amount }}", "lucky": "{{ amount }} * random()"}
    for name, body in bodies.items():
        (shop / "macros" / f"{name}.sql").write_text(f"{{% macro {name}(amount) %}}{body}{{% endmacro %}}")
    for version in (1, 2):
        (shop / "models" / f"prefs_v{version}.sql").write_text("select 1 as one")
    with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
        columns = "user_id varchar, event_timestamp timestamptz"
        connection.execute(f"create table lacking ({columns})")
    return shop


def test_the_table_is_true(wrong: Path) -> None:
    result = run_dbt(wrong, "build")
    build = str(result.exception)
    check = run("check", cwd=wrong)
    assert (result.success, check.status) == (False, 1)
    rows = table(DOCS / "checks.md", "mistake")
    assert len(rows) == len(SAID)
    for (mistake, by_build, by_check), patterns in zip(rows, SAID, strict=True):
        for pattern in patterns:
            found = [bool(re.search(pattern, text)) for text in (build, check.out)]
            assert found == [by_build == "yes", by_check == "yes"], (mistake, pattern, build, check.out)


@pytest.mark.rest
def test_only_what_runs_something_is_checked(wrong: Path) -> None:
    for command in ("parse", "compile", "ls"):
        assert run_dbt(wrong, command).success, command
    for command in ("run", "build"):
        assert "in the declarations of pit_join" in str(run_dbt(wrong, command).exception), command
    unbuilt = ("--select", "no_view", "--empty")
    assert not run_dbt(wrong, "run", *unbuilt).success
    assert run_dbt(wrong, "run", *unbuilt, "--vars", "pit_join_check: false").success
    settings = wrong / "dbt_project.yml"
    before = settings.read_text()
    settings.write_text(before + "vars: {pit_join_check: false}\n")
    assert run_dbt(wrong, "run", *unbuilt).success
    settings.write_text(before)


def test_a_right_project_runs_with_empty_inputs(tmp_path: Path) -> None:
    shop = make_project(tmp_path / "shop", {"good": VIEWS["good"]})
    (shop / "models" / "good.sql").write_text(
        "select 'a' as user_id, now() as event_timestamp, 1.0::double as value from (select 1) as one"
    )
    assert run_dbt(shop, "build", "--empty").success
    assert run_dbt(shop, "build").success


def test_the_demo_and_the_package_begin_alike() -> None:
    hooks = [
        re.findall(r"^on-run-start:.*$", (ROOT / path).read_text(), re.MULTILINE)
        for path in ("dbt_project.yml", "pit_join/dbt_package/dbt_project.yml")
    ]
    assert hooks[0] == hooks[1] == ['on-run-start: ["{{ pit_join._check_declarations() }}"]']
