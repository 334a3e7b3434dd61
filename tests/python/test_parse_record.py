"""Dbt's record of a parse is taken for the manifest where it is of the very files, and nowhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from dbt.cli.main import dbtRunner
from support.dbt import failures, inside, run_dbt

from pit_join.errors import ProjectError
from pit_join.project.dbt_project import Project
from pit_join.project.parse_record import find_record

pytestmark = pytest.mark.dbt

FILES = {
    "dbt_project.yml": """\
name: shop
profile: shop
vars: {size: one}
models: {shop: {+meta: {team: alpha, day: 2026-01-01}}}
""",
    "profiles/profiles.yml": """\
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: stock.duckdb, threads: 2}
    twin: {type: duckdb, path: stock.duckdb, threads: 2}
    prod: {type: duckdb, path: prod.duckdb}
""",
    "models/plain.sql": "select 'walrus' as one",
    "models/sized.sql": "{{ config(alias='sized_' ~ var('size')) }} select 1 as one",
    "models/coloured.sql": "{{ config(alias='in_' ~ env_var('SHOP_' ~ 'COLOUR', 'red')) }} select 1 as one",
    "models/learned.py": "def model(dbt, session):\n    return session.sql(\"select 'herring' as one\")\n",
    "models/models.yml": "models:\n  - {name: plain, description: whale, meta: {since: 2026-01-01}}\n"
    "  - {name: sized, description: \"{{ doc('size') }}\"}\n",
    "models/size.md": "{% docs size %}small{% enddocs %}\n",
    "macros/say.sql": "{% macro say() %}hello{% endmacro %}\n",
    "seeds/labels.csv": "id,label\n1,0\n",
    "snapshots/kept.sql": "{% snapshot kept %}{{ config(strategy='check', unique_key='one', check_cols=['plan_a']) }}"
    "select * from {{ ref('plain') }}{% endsnapshot %}\n",
    "tests/none.sql": "select * from {{ ref('plain') }} where one > 'lobster'",
    "tests/generic/odd.sql": "{% test odd(model) %}select 'oyster' where false{% endtest %}\n",
    "dbt_packages/pack/dbt_project.yml": "name: pack\nmodels: {pack: {+meta: {team: gamma}}}\n",
    "dbt_packages/pack/macros/dig.sql": "{% macro dig() %}shallow{% endmacro %}\n",
    "dbt_packages/pack/models/dug.sql": "select 'mussel' as one",
}

# A word of each file that the manifest holds, and another one as long.
CHANGES = {
    "dbt_project.yml": ("alpha", "omega"),
    "profiles/profiles.yml": ("stock", "krill"),
    "models/plain.sql": ("walrus", "turtle"),
    "models/learned.py": ("herring", "halibut"),
    "models/models.yml": ("whale", "squid"),
    "models/size.md": ("small", "large"),
    "macros/say.sql": ("hello", "howdy"),
    "snapshots/kept.sql": ("plan_a", "plan_b"),
    "tests/none.sql": ("lobster", "octopus"),
    "tests/generic/odd.sql": ("oyster", "urchin"),
    "dbt_packages/pack/dbt_project.yml": ("gamma", "kraal"),
    "dbt_packages/pack/macros/dig.sql": ("shallow", "trenchy"),
    "dbt_packages/pack/models/dug.sql": ("mussel", "limpet"),
}


class Counted(Project):
    """A project that counts how often dbt parses it."""

    parses = 0

    def _dbt(self, *arguments: str) -> str:
        self.parses += arguments[0] == "parse"
        return super()._dbt(*arguments)


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("record") / "shop"
    for name, text in FILES.items():
        write(directory / name, text)
    parse(directory)
    shutil.copytree(directory, directory.parent / "kept")
    return directory


@pytest.fixture
def shop(parsed: Path) -> Path:
    """The project as `dbt parse` has left it, in the same place, which is a part of the record."""
    shutil.rmtree(parsed)
    shutil.copytree(parsed.parent / "kept", parsed)
    return parsed


def parse(directory: Path, *options: str) -> None:
    result = run_dbt(directory, "parse", *options)
    assert result.success, failures(result)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def edit(path: Path, old: str, new: str) -> None:
    """Change a file, but neither its size nor its time."""
    time, text = path.stat().st_mtime_ns, path.read_text()
    assert len(old) == len(new)
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(time, time))


def read(directory: Path, target: str | None = None) -> tuple[dict[str, Any], int]:
    """The manifest of a new process, and how many parses it took."""
    project = Counted(directory, target=target)
    return project.manifest(), project.parses


def usable(directory: Path, target: str | None = None) -> bool:
    """Whether dbt's record proves a manifest, so that nothing is parsed."""
    project = Project(directory, target=target)
    sources = project._sources()
    found = find_record(sources, directory / "target/partial_parse.msgpack", directory / "none")
    return bool(found and sources.complete and not found[1])


def test_what_dbt_has_parsed_is_not_parsed_again(shop: Path) -> None:
    theirs = json.loads((shop / "target/manifest.json").read_bytes())
    for _ in range(2):
        ours, parses = read(shop)
        assert parses == 0
        assert ours["nodes"]["model.shop.plain"]["meta"] == {
            "team": "alpha",
            "day": "2026-01-01",
            "since": "2026-01-01",
        }
        for part in ours.keys() & theirs.keys() - {"metadata"}:
            assert ours[part].keys() == theirs[part].keys()
            for name, node in theirs[part].items():
                assert {key: ours[part][name][key] for key in node} == node
        assert {key: ours["metadata"][key] for key in theirs["metadata"]} == theirs["metadata"]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[] if file in ("models/plain.sql", "models/models.yml") else pytest.mark.rest)
        for file in CHANGES
    ],
)
def test_a_changed_file_with_its_old_time_is_seen(shop: Path, file: str) -> None:
    old, new = CHANGES[file]
    for dbts in (True, False):  # from dbt's record, and then without it from our own
        manifest, parses = read(shop)
        assert (old in json.dumps(manifest), new in json.dumps(manifest), parses) == (True, False, not dbts)
        edit(shop / file, old, new)
        manifest, parses = read(shop)
        assert (old in json.dumps(manifest), new in json.dumps(manifest), parses) == (False, True, 1)
        assert read(shop) == (manifest, 0)
        edit(shop / file, new, old)
        (shop / "target/partial_parse.msgpack").unlink(missing_ok=True)


@pytest.mark.parametrize("file", ["macros/more.sql", "dbt_packages/pack/models/more.SQL"])
def test_a_new_file_and_a_removed_one_are_seen(shop: Path, file: str) -> None:
    write(shop / file, "{% macro more() %}plankton{% endmacro %}" if "macros" in file else "select 'plankton' as one")
    manifest, parses = read(shop)
    assert ("plankton" in json.dumps(manifest), parses) == (True, 1)
    (shop / file).unlink()
    manifest, parses = read(shop)
    assert ("plankton" in json.dumps(manifest), parses) == (False, 0)  # dbt's record is right again
    (shop / "models/learned.py").unlink()
    manifest, parses = read(shop)
    assert ("model.shop.learned" in manifest["nodes"], parses) == (False, 1)


def test_files_that_dbt_does_not_read_do_not_matter(shop: Path) -> None:
    edit(shop / "seeds/labels.csv", "1,0", "1,1")
    for name in ("macros/tool.py", "models/notes.csv", "models/.#plain.sql", "models/~plain.sql", "tests/test_a.py"):
        write(shop / name, "x")
    (shop / "target/manifest.json").write_text("{")  # of a run that was stopped
    assert read(shop)[1] == 0


@pytest.mark.rest
def test_a_changed_environment_is_seen(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alias() -> tuple[str, int]:
        manifest, parses = read(shop)
        return manifest["nodes"]["model.shop.coloured"]["alias"], parses

    assert alias() == ("in_red", 0)
    monkeypatch.setenv("SHOP_COLOUR", "blue")
    assert alias() == ("in_blue", 1)
    assert alias() == ("in_blue", 0)
    monkeypatch.delenv("SHOP_COLOUR")
    assert alias() == ("in_red", 0)  # of dbt's record
    monkeypatch.setenv("SHOP_COLOUR", "blue")
    parse(shop)
    assert alias() == ("in_blue", 0)


def test_the_environment_of_settings_is_seen(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = shop / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("alpha", "\"{{ env_var('SHOP_TEAM', 'alpha') }}\""))
    parse(shop)
    assert usable(shop)
    monkeypatch.setenv("SHOP_TEAM", "crew")
    assert not usable(shop)
    parse(shop)
    assert usable(shop)
    settings = shop / "dbt_packages/pack/dbt_project.yml"
    settings.write_text(settings.read_text().replace("gamma", "\"{{ env_var('PACK_TEAM', 'gamma') }}\""))
    parse(shop)
    assert not usable(shop)  # dbt does not note the variables of packages


def test_what_was_parsed_with_other_options_is_not_taken(shop: Path) -> None:
    parse(shop, "--vars", "{size: two}")
    manifest, parses = read(shop)
    assert (manifest["nodes"]["model.shop.sized"]["alias"], parses) == ("sized_one", 1)
    parse(shop, "--target", "prod")
    assert (usable(shop), usable(shop, "prod")) == (False, True)
    parse(shop, "--target", "dev")
    assert (usable(shop), usable(shop, "prod"), usable(shop, "twin")) == (True, False, False)


@pytest.mark.parametrize(
    ("template", "of_default", "of_named"),
    [
        ("{{ target.schema }}", True, True),
        ("'target' as target, 1 as flags", True, True),
        ("{# target.name #} {% if execute and flags.FULL_REFRESH %} 2 {% endif %}", True, True),
        ("{% if not execute and flags.FULL_REFRESH %} 2 {% else %} 1 {% endif %}", False, False),
        ("{{ target['name'] | length and 1 }}", False, False),
        ("{{ target.name | length }}", False, True),
        ("{{ target.threads }}", False, False),
        ("{{ 1 if flags.FULL_REFRESH else 2 }}", False, False),
        ("{{ 1 if context['flags'].FULL_REFRESH else 2 }}", False, False),
    ],
)
def test_templates_that_ask_for_the_target_or_the_command(
    shop: Path, template: str, of_default: bool, of_named: bool
) -> None:
    """Dbt notes neither the name of a default target nor the options of a command."""
    write(shop / "models/asking.sql", f"select {template} as one")
    parse(shop)
    assert (usable(shop), usable(shop, "twin")) == (of_default, of_default)
    parse(shop, "--target", "dev")
    assert (usable(shop), usable(shop, "twin")) == (of_named, False)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def write(content: bytes) -> bytes:
        record = msgpack.unpackb(content)
        change(record)
        return bytes(msgpack.packb(record))

    return write


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "empty": lambda content: b"",
    "a text": lambda content: b"no record",
    "a list": lambda content: bytes(msgpack.packb([1, 2])),
    "another mapping": lambda content: bytes(msgpack.packb({"metadata": {}, "files": []})),
    "another version of dbt": changed(lambda record: record["metadata"].update(dbt_version="1.11.0")),
    "other files": changed(lambda record: record["files"].update(a=1)),
    "a package less": changed(lambda record: record["state_check"]["project_hashes"].pop("pack")),
    "macros of another dbt-duckdb": changed(
        lambda record: record["files"]["dbt_duckdb://macros/catalog.sql"]["checksum"].update(checksum="0")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_record_that_is_damaged_or_foreign_is_not_taken(shop: Path, damage: str) -> None:
    path = shop / "target/partial_parse.msgpack"
    assert usable(shop)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert not usable(shop)
    if damage == "truncated":
        assert read(shop)[1] == 1


@pytest.mark.rest
def test_a_record_of_another_moment_than_the_manifest_beside_it(shop: Path) -> None:
    """As a run leaves them that is stopped between the two."""
    record = (shop / "target/partial_parse.msgpack").read_bytes()
    edit(shop / "models/plain.sql", "walrus", "turtle")
    parse(shop)
    (shop / "target/partial_parse.msgpack").write_bytes(record)
    manifest, parses = read(shop)
    assert ("turtle" in json.dumps(manifest), parses) == (True, 1)
    edit(shop / "models/plain.sql", "turtle", "walrus")
    manifest, parses = read(shop)
    assert ("walrus" in json.dumps(manifest), parses) == (True, 0)


@pytest.mark.rest
def test_a_project_that_was_moved_is_parsed(shop: Path, tmp_path: Path) -> None:
    """The paths of seeds are in the manifest, and dbt goes on with those of the old place."""
    shutil.copytree(shop, tmp_path / "shop")
    manifest, parses = read(tmp_path / "shop")
    assert (manifest["nodes"]["seed.shop.labels"]["root_path"], parses) == (str(tmp_path / "shop"), 1)


def test_packages_that_are_not_installed_are_for_dbt_to_say(shop: Path) -> None:
    write(shop / "packages.yml", "packages: [{local: pack}]\n")
    assert usable(shop)
    write(shop / "packages.yml", "packages: [{local: pack}, {local: other}]\n")
    with pytest.raises(ProjectError, match=r"dbt found 2 package\(s\) specified in packages.yml, but only 1"):
        read(shop)


@pytest.mark.rest
def test_ignored_files_are_for_dbt_to_find(shop: Path) -> None:
    write(shop / ".dbtignore", "learned.py\n")
    manifest, parses = read(shop)
    assert ("model.shop.learned" in manifest["nodes"], parses) == (False, 1)
    write(shop / ".dbtignore", "plain.py\n")
    manifest, parses = read(shop)
    assert ("model.shop.learned" in manifest["nodes"], parses) == (True, 1)


def test_only_what_has_changed_is_parsed_and_dbts_own_files_stay_as_they_are(shop: Path) -> None:
    made = {name: node["created_at"] for name, node in read(shop)[0]["nodes"].items()}
    edit(shop / "models/models.yml", "whale", "squid")
    shutil.rmtree(shop / "logs")
    before = {path: path.read_bytes() for path in (shop / "target").glob("*") if path.is_file()}
    manifest, parses = read(shop)
    assert (parses, (shop / "logs").exists()) == (1, False)
    anew = {name for name, node in manifest["nodes"].items() if node["created_at"] != made[name]}
    assert "model.shop.plain" in anew
    assert not anew & {"model.shop.learned", "model.shop.coloured", "model.pack.dug"}
    assert {path: path.read_bytes() for path in (shop / "target").glob("*") if path.is_file()} == before


@pytest.mark.rest
def test_files_that_change_while_dbt_parses(shop: Path) -> None:
    class Disturbed(Project):
        def _dbt(self, *arguments: str) -> str:
            said = super()._dbt(*arguments)
            edit(shop / "models/plain.sql", "turtle", "otters")
            return said

    edit(shop / "models/plain.sql", "walrus", "turtle")
    with pytest.raises(ProjectError, match="the project has changed while the command ran; run the command again"):
        Disturbed(shop).manifest()
    edit(shop / "models/plain.sql", "otters", "turtle")
    manifest, parses = read(shop)
    assert ("turtle" in json.dumps(manifest), parses) == (True, 1)


UNUSED = """
models:
  - {name: ghost_model}
  - {name: labels}
  - {name: "off"}
  - name: versioned
    latest_version: 1
    versions: [{v: 1}, {v: 2}, {v: 3, defined_in: third}, {v: 4, defined_in: none}]
seeds: [{name: labels}, {name: ghost_seed}]
snapshots:
  - {name: kept}
  - {name: ghost_snapshot}
  - {name: in_yaml, relation: "ref('plain')", config: {unique_key: one, strategy: check, check_cols: all}}
analyses: [{name: look}, {name: ghost_analysis}]
macros: [{name: say}, {name: ghost_macro}]
data_tests: [{name: none}, {name: ghost_test}]
"""


def test_entries_without_a_file_are_those_that_dbt_warns_of(shop: Path) -> None:
    write(shop / "models/unused.yml", UNUSED)
    write(shop / "models/versioned_v1.sql", "select 1 as one")
    write(shop / "models/third.sql", "select 1 as one")
    write(shop / "models/off.sql", "{{ config(enabled=false) }} select 1 as one")
    write(shop / "analyses/look.sql", "select 1 as one")
    said: list[str] = []
    with inside(shop):
        runner = dbtRunner(callbacks=[lambda event: said.append(event.info.msg)])
        options = ["--no-partial-parse", "--profiles-dir", "profiles", "--log-path", "logs"]
        assert runner.invoke(["--log-level", "none", "parse", *options]).success
    pattern = re.compile(r"patch (?:with name|for macro) ['\"](\w+)['\"]")
    warned = [name for text in said for name in pattern.findall(text)]
    named = {"versioned_v2": "versioned.v2", "none": "versioned.v4"}
    project = Counted(shop)
    project.manifest()
    assert project.parses == 0
    found = project.unused_entries()
    assert sorted(text.split(": ")[1] for text in found) == sorted(named.get(name, name) for name in warned)
    assert len(found) == 8
    assert (
        found[0] == "models/unused.yml: ghost_model: this entry of models has no file; write one, or remove the entry"
    )
    edit(shop / "models/plain.sql", "walrus", "turtle")  # dbt's partial parse does not warn again
    project.manifest()
    assert (sorted(project.unused_entries()), project.parses) == (sorted(found), 1)
