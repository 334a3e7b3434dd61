"""Versions of dbt models as views and spines: each found by its own name, and the latest as `ref()` finds it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from support.dbt import ROOT, Built, build, copied, failures, run_dbt
from support.projects import KEYS, run

from pit_join import FeatureLog, FeatureStore
from pit_join.errors import ProjectError, RequestError

pytestmark = pytest.mark.dbt

# Every version of a model holds another colour.
COLOURS = {"1": 10, "2": 20, "3.0-rc": 30}
PROJECT = """
name: shop
profile: shop
models: {+materialized: table}
"""
PROFILE = "shop: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb}}}"
VIEWS = f"""
models:
  - name: prefs
    latest_version: 1
    config: {{event_time: at, meta: {{pit_join: {{{KEYS}}}}}}}
    columns:
      - {{name: user_id, data_type: varchar}}
      - {{name: at, data_type: timestamp}}
      - {{name: colour, data_type: integer}}
    versions: [{{v: 1}}, {{v: 2}}, {{v: 3.0-rc, defined_in: prefs_rc}}]
  - name: dots.v2
    config: {{event_time: at, meta: {{pit_join: {{{KEYS}}}}}}}
    columns:
      - {{name: user_id, data_type: varchar}}
      - {{name: at, data_type: timestamp}}
      - {{name: colour, data_type: integer}}
  - name: labels
    latest_version: 1
    versions: [{{v: 1}}, {{v: 2}}]
"""
SERVICES = """
exposures:
  - name: newest
    type: ml
    owner: {name: a, email: a@example.com}
    depends_on: [ref('prefs')]
    config: {meta: {pit_join: {features: ["prefs:colour"]}}}
  - name: both
    type: ml
    owner: {name: a, email: a@example.com}
    depends_on: ["ref('prefs', v=1)", "ref('prefs', v=2)", "ref('prefs', v='3.0-rc')"]
    config:
      meta:
        pit_join:
          full_feature_names: true
          features:
            - "prefs.v1:colour"
            - {view: prefs.v2, as: other, features: [colour]}
            - {on_demand: doubled, arguments: {amount: "prefs.v3.0-rc:colour"}}
"""
MACROS = """
macros:
  - name: doubled
    config: {meta: {pit_join: {returns: bigint}}}
    arguments: [{name: amount, type: bigint}]
"""


def prefs(colour: int) -> str:
    return f"select 'a' as user_id, timestamp '2026-03-01' as at, {colour} as colour"


def labels(label: int) -> str:
    return f"select 'a' as user_id, timestamp '2026-03-02' as at, {label} as label"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("versions") / "shop"
    (folder / "models").mkdir(parents=True)
    (folder / "macros").mkdir()
    (folder / "profiles").mkdir()
    shutil.copytree(ROOT / "pit_join" / "dbt_package", folder / "dbt_packages" / "pit_join")
    files = {
        "dbt_project.yml": PROJECT,
        "profiles/profiles.yml": PROFILE,
        "models/models.yml": VIEWS,
        "models/services.yml": SERVICES,
        "models/prefs_v1.sql": prefs(10),
        "models/prefs_v2.sql": prefs(20),
        "models/prefs_rc.sql": prefs(30),
        "models/dots.v2.sql": prefs(40),
        "models/labels_v1.sql": labels(1),
        "models/labels_v2.sql": labels(2),
        "macros/macros.yml": MACROS,
        "macros/doubled.sql": "{% macro doubled(amount) %}2 * {{ amount }}{% endmacro %}",
        "models/training.sql": """
            {{ pit_join.training_set(ref('labels'), [
                'prefs:colour', 'prefs.v2:colour', 'prefs.v3.0-rc:*', '"dots.v2":colour',
                {'on_demand': 'doubled', 'types': {'amount': 'bigint'}, 'returns': 'bigint',
                 'arguments': {'amount': 'prefs.v2:colour'}}
            ], event_timestamp='at', full_feature_names=true) }}
        """,
        "models/of_service.sql": """
            -- depends_on: {{ ref('prefs') }}
            -- depends_on: {{ ref('prefs', v=2) }}
            -- depends_on: {{ ref('prefs', v='3.0-rc') }}
            {{ pit_join.training_set(ref('labels'), event_timestamp='at', service='both') }}
        """,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return build(folder)


def rows(project: Built, spine: str, *features: str, **options: Any) -> dict[str, Any]:
    store = FeatureStore(project.directory)
    found = store.get_historical_features(spine, list(features), event_timestamp="at", **options)
    (row,) = found.to_arrow().to_pylist()
    return dict(row)


@pytest.mark.parametrize("version", COLOURS)
@pytest.mark.rest
def test_a_version_is_named_behind_the_view(project: Built, version: str) -> None:
    assert rows(project, "labels", f"prefs.v{version}:colour")["colour"] == COLOURS[version]


def test_without_a_version_it_is_the_latest_as_for_ref(project: Built) -> None:
    found = rows(project, "labels", "prefs:colour")
    assert (found["colour"], found["label"]) == (10, 1)
    assert rows(project, "labels.v2", "prefs:colour")["label"] == 2


def test_quotes_hold_a_name_that_only_looks_versioned(project: Built) -> None:
    assert rows(project, "labels", '"dots.v2":colour', full_feature_names=True)["dots.v2__colour"] == 40
    with pytest.raises(RequestError, match=r"unknown feature view 'dots\.v2'; did you mean '\"dots\.v2\"'"):
        rows(project, "labels", "dots.v2:colour")


def test_versions_in_one_set_need_full_names(project: Built) -> None:
    with pytest.raises(ProjectError, match=r"both prefs\.v1:colour and prefs\.v2:colour would be named colour"):
        rows(project, "labels", "prefs.v1:colour", "prefs.v2:colour")
    found = rows(project, "labels", "prefs.v1:*", "prefs.v2:*", "prefs:*", full_feature_names=True, provenance=True)
    assert [found[name] for name in ("prefs_v1__colour", "prefs_v2__colour", "prefs__colour")] == [10, 20, 10]
    assert found["prefs_v2__status"] == "PRESENT"


def test_a_role_is_named_as_it_says(project: Built) -> None:
    found = rows(project, "labels", "prefs.v2:colour", "old:colour", roles=["old=prefs.v1"])
    assert (found["colour"], found["old__colour"]) == (20, 10)
    assert rows(project, "labels", '"prefs.v1":colour', roles=['"prefs.v1"=prefs.v2'])["prefs.v1__colour"] == 20
    with pytest.raises(RequestError, match=r"'prefs' is the latest version, and not prefs\.v2; give the role another"):
        rows(project, "labels", "prefs:colour", roles=["prefs=prefs.v2"])


def test_an_unknown_version_is_an_error(project: Built) -> None:
    with pytest.raises(RequestError, match=r"unknown feature view 'prefs\.v7'; did you mean 'prefs\.v2'"):
        rows(project, "labels", "prefs.v7:colour")


def test_dbt_resolves_versions_when_it_parses(project: Built) -> None:
    (node,) = [node for node in project.manifest.nodes.values() if node.name == "training"]
    assert {one for one in node.depends_on.nodes if "prefs" in one or "dots" in one} == {
        "model.shop.prefs.v1", "model.shop.prefs.v2", "model.shop.prefs.v3.0-rc", "model.shop.dots.v2",
    }  # fmt: skip
    with duckdb.connect(str(project.directory / "warehouse.duckdb"), config={"threads": 1}) as connection:
        table = connection.sql("from training").to_arrow_table()
    assert table.to_pylist()[0] | {"at": None} == {
        "user_id": "a", "at": None, "label": 1, "prefs__colour": 10, "prefs_v2__colour": 20,
        "prefs_v3_0-rc__colour": 30, "dots.v2__colour": 40, "doubled": 40,
    }  # fmt: skip


# Services in models ---------------------------------------------------------------------------------------------


def test_a_model_takes_the_features_of_a_service(project: Built, tmp_path: Path) -> None:
    with duckdb.connect(str(project.directory / "warehouse.duckdb"), config={"threads": 1}) as connection:
        (row,) = connection.sql("from of_service").to_arrow_table().to_pylist()
    wanted = {"user_id": "a", "label": 1, "prefs_v1__colour": 10, "other__colour": 20, "doubled": 60}
    assert row | {"at": None} == wanted | {"at": None}
    output = tmp_path / "set.parquet"
    command = ("build-training-set", "--spine", "labels", "--service", "both", "--event-timestamp", "at")
    assert run(*command, "--output", str(output), cwd=project.directory).status == 0
    assert pq.read_table(output).to_pylist() == [row], "as the command line has it"


@pytest.mark.rest
def test_a_model_lists_what_its_service_reads(project: Built, tmp_path: Path) -> None:
    own = copied(project, tmp_path / "shop").directory
    model = own / "models" / "of_service.sql"
    lines = ["-- depends_on: {{ ref('prefs', v=2) }}", "-- depends_on: {{ ref('prefs', v='3.0-rc') }}"]
    whole = model.read_text()
    model.write_text("".join(line for line in whole.splitlines(keepends=True) if "v=" not in line))
    said = failures(run_dbt(own, "run", "--select", "of_service"))["of_service"]
    assert "the service 'both' reads models that dbt does not know it to need; add to this model:" in said
    done = run("check", cwd=own)
    assert (done.status, done.out.splitlines()[0].split(": ")[:4]) == (
        1, ["models/of_service.sql", "of_service", "training_set", "service"],
    ), done.out  # fmt: skip
    assert done.out.splitlines()[1:3] == lines
    for line in lines:
        assert line in said
    model.write_text("\n".join([*lines, model.read_text()]))
    assert run("check", cwd=own).status == 0
    assert failures(run_dbt(own, "run", "--select", "of_service")) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("['prefs:colour'], service='both'", "takes either features or service, and got both"),
        ("", "takes either features or service, and got neither"),
        ("service='boht'", "unknown feature service 'boht'; feature services: both, newest"),
    ],
)
def test_a_wrong_call_with_a_service(project: Built, tmp_path: Path, arguments: str, says: str) -> None:
    own = copied(project, tmp_path / "shop").directory
    call = f"{{{{ pit_join.training_set(ref('labels'), {arguments}) }}}} -- {{{{ ref('prefs') }}}}"
    (own / "models" / "of_service.sql").write_text(call)
    assert says in str(failures(run_dbt(own, "run", "--select", "of_service")))


def test_the_metadata_of_a_set_name_the_version(project: Built, tmp_path: Path) -> None:
    output = tmp_path / "set.parquet"
    command = ("build-training-set", "--spine", "labels", "--features", "prefs:colour", "--event-timestamp", "at")
    done = run(*command, "--output", str(output), cwd=project.directory)
    assert done.status == 0, done.err
    assert "prefs (prefs.v1)" in done.out
    metadata = json.loads(pq.read_metadata(output).metadata[b"pit_join"])
    assert [each["view"] for each in metadata["references"]] == ["prefs.v1"]


# Online ---------------------------------------------------------------------------------------------------------


def served(directory: Path, features: Any) -> dict[str, Any]:
    online = FeatureStore(directory).get_online_features(features, [{"user_id": "a"}])
    return {name: values[0] for name, values in online.to_dict().items() if name != "user_id"}


def test_versions_are_served_side_by_side(project: Built, tmp_path: Path) -> None:
    own = copied(project, tmp_path / "shop").directory
    assert run("export", cwd=own).status == 0
    assert served(own, ["prefs:colour"]) == {"colour": 10}
    assert served(own, ["prefs.v2:colour"]) == {"colour": 20}
    assert served(own, "both") == {"prefs_v1__colour": 10, "other__colour": 20, "doubled": 60}
    done = run("verify", "--select", "prefs", cwd=own)
    assert (done.status, "1 views, 1 keys" in done.out) == (0, True), done.err
    done = run("verify", "--all", cwd=own)
    assert (done.status, "4 views, 4 keys" in done.out) == (0, True), done.out


@pytest.mark.rest
def test_an_export_says_that_the_latest_version_is_another_one(project: Built, tmp_path: Path) -> None:
    own = copied(project, tmp_path / "shop").directory
    log = tmp_path / "log"
    assert "latest" not in run("export", cwd=own).err
    served_log = FeatureLog(log, sample=1)
    FeatureStore(own, feature_log=served_log).get_online_features("newest", [{"user_id": "a"}])
    assert served_log.close()
    declared = own / "models" / "models.yml"
    declared.write_text(declared.read_text().replace("latest_version: 1", "latest_version: 2", 1))
    services = own / "models" / "services.yml"
    assert served(own, "newest") == {"colour": 10}, "until the next export"
    assert "the latest version of 'prefs' was prefs.v1, and is prefs.v2" in run("verify", "--all", cwd=own).err
    assert run("export", "--select", "dots.v2", cwd=own).status == 2, (
        "outside quotes that is version 2 of the model dots"
    )
    assert run("export", "--select", '"dots.v2"', cwd=own).status == 0
    assert served(own, "newest") == {"colour": 10}, "prefs was not exported"
    done = run("export", "--select", "prefs", cwd=own)
    assert "the latest version of 'prefs' was prefs.v1, and is prefs.v2" in done.err
    assert served(own, "newest") == served(own, ["prefs:colour"]) == {"colour": 20}
    assert "ref('prefs')" in services.read_text()
    monitored = run("monitor", "--log", str(log), cwd=own)
    assert "the latest version of 'prefs' was prefs.v1, and is prefs.v2: 1 rows" in monitored.out
    assert " 0 different" in monitored.out, "what v1 served is compared with v1"


def test_a_latest_version_that_is_not_online_is_named(project: Built, tmp_path: Path) -> None:
    own = copied(project, tmp_path / "shop").directory
    views = json.loads(run("views", "--json", cwd=own).out)
    assert {view["name"]: view["latest"] for view in views} == {
        "prefs.v1": True, "prefs.v2": False, "prefs.v3.0-rc": False, '"dots.v2"': None,
    }  # fmt: skip
    assert "prefs.v1 (latest)" in run("views", cwd=own).out
    declared = own / "models" / "models.yml"
    hidden = "{v: 1, config: {meta: {pit_join: {online: false}}}}"
    declared.write_text(declared.read_text().replace("{v: 1}", hidden, 1))
    said = "prefs.v1: online: is false for the latest version of 'prefs', so 'prefs:feature' cannot be read online"
    assert said in run("export", cwd=own).err
    done = run("check", cwd=own)
    assert (done.status, said in done.out) == (1, True), done.out


# Errors ---------------------------------------------------------------------------------------------------------


def test_depends_on_is_asked_for_the_version(project: Built, tmp_path: Path) -> None:
    own = copied(project, tmp_path / "shop").directory
    services = own / "models" / "services.yml"
    services.write_text(services.read_text().replace("\"ref('prefs', v=2)\", ", ""))
    done = run("views", cwd=own)
    assert (done.status, "depends_on: does not list ref('prefs', v=2), which" in done.err) == (2, True), done.err


def test_generic_tests_check_the_version_that_they_stand_at(project: Built, tmp_path: Path) -> None:
    own = copied(project, tmp_path / "shop").directory
    declared = own / "models" / "models.yml"
    tests = "    data_tests: [pit_join.unique_feature_rows]\n"
    declared.write_text(declared.read_text().replace("    versions: ", f"{tests}    versions: ", 1))
    twice = own / "models" / "prefs_v2.sql"
    twice.write_text(f"{prefs(20)} union all {prefs(21)}")
    result = run_dbt(own, "build", "--select", "prefs")
    assert list(failures(result)) == ["pit_join_unique_feature_rows_prefs_v2_"], failures(result)
