"""Targets of profiles.yml: every key is used, has no effect on what is read, or is refused."""

from __future__ import annotations

import hashlib
import pprint
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
import yaml
from dbt.adapters.duckdb.credentials import Attachment, DuckDBCredentials, Extension

from pit_join.definitions.connection import Connection, Database
from pit_join.errors import PitJoinError, ProjectError, WarehouseError
from pit_join.project.profile import ATTACH_KEYS, EXTENSION_KEYS, TARGET_KEYS, read_profile
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import attach_options, create_secret, filesystem


def read(folder: Path, text: str = "", **output: Any) -> Connection:
    """The only target of a profile, given as YAML or as Python."""
    target = {"type": "duckdb", "path": "shop.duckdb"} | (yaml.safe_load(text) or {}) | output
    (folder / "profiles.yml").write_text(yaml.safe_dump({"shop": {"target": "dev", "outputs": {"dev": target}}}))
    return read_profile(folder / "profiles.yml", "shop", None, folder)


def made(folder: Path, *names: str) -> None:
    for name in names:
        with duckdb.connect(str(folder / name)) as connection:
            connection.execute(f"create table t as select '{name}' as name")


# What dbt-duckdb knows -------------------------------------------------------------------------------------


def test_every_key_of_dbt_duckdb_is_known() -> None:
    """A new one must be judged here, before a project uses it."""
    assert {field.name for field in fields(DuckDBCredentials)} <= set(TARGET_KEYS)
    assert {field.name for field in fields(Attachment)} <= set(ATTACH_KEYS)
    assert {field.name for field in fields(Extension)} == set(EXTENSION_KEYS)


def test_the_page_lists_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text()
    section = page.split("## The dbt profile")[1].split("\n## ")[0]
    assert not [key for key in (*TARGET_KEYS, *ATTACH_KEYS) if f"`{key}`" not in section]


NO_EFFECT = """
schema: features
threads: 8
external_root: s3://lake
plugins: [{module: excel}, {module: my.plugin, alias: mine, config: {password: hunter2}}]
module_paths: [plugins]
retries: {connect_attempts: 6, query_attempts: 3, retryable_exceptions: [IOException]}
disable_transactions: true
keep_open: false
is_ducklake: false
flights: {enabled_by_default: false}
motherduck_token: hunter2
"""


def test_keys_that_do_not_change_what_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, NO_EFFECT) == read(tmp_path)
    attached = "attach: [{path: a.duckdb"
    assert read(tmp_path, f"{attached}, read_only: true, is_ducklake: false}}]") == read(tmp_path, f"{attached}}}]")


@pytest.mark.parametrize(
    "text",
    [
        "",
        NO_EFFECT.replace("motherduck_token: hunter2\n", ""),
        "{database: lake, attach: [{path: lake.duckdb, alias: lake}, {path: x, options: {type: sqlite}}], settings: }",
        "{path: .my.db.duckdb, extensions: [json, {name: h3, repo: community}], config_options: {threads: 2}}",
        "{path: folder/a.duckdb, settings: {TimeZone: UTC, s3_region: eu}, use_credential_provider: aws}",
        "{secrets: [{type: s3, key_id: a}], filesystems: [{fs: s3, anon: true}]}",
    ],
)
def test_dbts_hash_of_a_target(text: str, tmp_path: Path) -> None:
    """It changes with what templates read of a target, and proves that dbt has parsed for that."""
    target = {"path": "shop.duckdb"} | (yaml.safe_load(text) or {})
    credentials = DuckDBCredentials.from_dict(DuckDBCredentials.translate_aliases(deepcopy(target)))
    hashed = pprint.pformat(sorted(credentials.connection_info()))
    assert read(tmp_path, text).profile_hash == hashlib.sha256(hashed.encode()).hexdigest()


# What is used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["shop.duckdb", "my.db.duckdb", ".hidden.duckdb", "no_suffix", "folder/a b.c"])
def test_databases_have_the_names_that_duckdb_gives_them(file: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    made(tmp_path, file, "other.x.duckdb")
    with duckdb.connect(str(tmp_path / file)) as connection:
        ((own,),) = connection.execute("select current_database()").fetchall()
        connection.execute(f"attach '{tmp_path / 'other.x.duckdb'}'")
        names = {name for (name,) in connection.execute("select database_name from duckdb_databases()").fetchall()}
    found = read(tmp_path, path=file, attach=[{"path": "other.x.duckdb"}])
    assert list(found.databases) == [own, "other"]
    assert set(found.databases) <= names
    assert own == DuckDBCredentials.path_derived_database_name(str(tmp_path / file))
    with DuckDBWarehouse(found) as warehouse:
        assert warehouse.row(f'from "{own}".t', "t") == {"name": file}
        assert warehouse.has_table((own, "main", "t"))


def test_an_attached_database_in_which_dbt_builds(tmp_path: Path) -> None:
    made(tmp_path, "shop.duckdb", "lake.duckdb")
    found = read(tmp_path, "{database: lake, attach: [{path: lake.duckdb, alias: lake}]}")
    with DuckDBWarehouse(found) as warehouse:
        assert [warehouse.row(f"from {name}.t", "t")["name"] for name in ("shop", "lake")] == [
            "shop.duckdb",
            "lake.duckdb",
        ]


def test_attachments(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        attach:
          - {path: a.duckdb, options: {BLOCK_SIZE: 16384, read_only: false}}
          - {path: shop.sqlite, type: sqlite}
          - {path: /data/b.duckdb, alias: B}
          - {path: "dbname=shop", alias: pg, type: postgres, secret: pg_secret, read_only: true}
          - {path: "ducklake:meta.ducklake", alias: lake, options: {data_path: files/}, is_ducklake: true}
          - {path: "s3://bucket/c.d.duckdb"}
        """,
    )
    folder = str(tmp_path)
    assert dict(found.databases) == {
        "shop": Database(f"{folder}/shop.sqlite", {"type": "sqlite"}),
        "a": Database(f"{folder}/a.duckdb", {"type": "duckdb", "block_size": 16384}),
        "B": Database("/data/b.duckdb", {"type": "duckdb"}),
        "pg": Database("dbname=shop", {"type": "postgres", "secret": "pg_secret"}, is_file=False),
        "lake": Database("ducklake:meta.ducklake", {"data_path": "files/"}, is_file=False),
        "c": Database("s3://bucket/c.d.duckdb", {}, is_file=False),
    }


OPTIONS = [
    {"type": "sqlite"},
    {"type": "ducklake", "data_path": "it's/", "snapshot_version": 3, "encrypted": True, "override": False},
    {"secret": "a_secret", "meta_path": "'quoted already'", "meta_schema": None},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_are_those_that_dbt_writes(options: Mapping[str, Any]) -> None:
    def parsed(sql: str) -> Any:
        statement = f"create secret s ({sql})".replace("read_only, ", "")
        return {part.replace("'", "").lower() for part in statement[17:-1].split(", ")} - {"read_only"}

    written = Attachment(path="x", options=dict(options), read_only=True).to_sql().split(" (", 1)[1]
    assert parsed(attach_options(options)) == parsed(written[:-1])


SECRETS = """
- {type: http, bearer_token: "it's", scope: [https://a/, https://b/]}
- {type: http, name: My_Other, extra_http_headers: {Authorization: "Bearer 'x'"}}
- {type: http, name: raw, extra_http_headers: "map {'a': 'b'}", provider: config, http_proxy: 5}
- {type: http, persistent: true, bearer_token: ~, verify_ssl: false, scope: https://c/}
"""


def test_secrets_are_those_of_dbt(tmp_path: Path) -> None:
    made(tmp_path, "shop.duckdb")
    listing = "select name, type, provider, persistent, scope, secret_string from duckdb_secrets() order by 1"
    dbts = duckdb.connect()
    # A temporary secret of ours where dbt makes one for good; and dbt writes several scopes in a way of older versions.
    written = [{**secret, "persistent": False} for secret in yaml.safe_load(SECRETS)]
    for number, secret in enumerate(written):
        scope = secret.pop("scope", None)
        sql = DuckDBCredentials.from_dict({"type": "duckdb", "secrets": [secret]}).secrets_sql()[0]
        sql = sql.replace("_dbt_secret_1", f"_dbt_secret_{number + 1}")
        dbts.execute(sql[:-1] + f", scope {scope!r})" if scope else sql)
    with DuckDBWarehouse(read(tmp_path, secrets=yaml.safe_load(SECRETS))) as warehouse:
        found = [tuple(row.values()) for row in warehouse.rows_later(listing, "secrets").result()]
    assert found == dbts.execute(listing).fetchall()
    assert len(found) == 4


def test_the_credential_chain_of_aws(tmp_path: Path) -> None:
    (secret,) = read(tmp_path, use_credential_provider="aws").secrets
    assert create_secret(secret, 1).endswith("(type 's3', provider 'credential_chain')")


@pytest.mark.parametrize("value", ["0123", "yes", "5", "{}", "a: b"])
def test_a_password_of_the_environment_stays_a_text(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", value)
    (secret,) = read(tmp_path, secrets=[{"type": "http", "bearer_token": "{{ env_var('PASSWORD') }}"}]).secrets
    assert secret["bearer_token"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ env_var('N') | as_number }}", 4),
        ("{{ env_var('N') | int }}", 4),
        ("{{ env_var('N') | as_native }}", 4),
        ("{{ env_var('B') | as_bool }}", True),
        ("{{ env_var('N') | as_text }}", "4"),
        ("{{ env_var('MISSING', 'x') }}-{{ env_var('N') }}", "x-4"),
    ],
)
def test_filters_of_dbt(text: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N", "4")
    monkeypatch.setenv("B", "True")
    found = read(tmp_path, settings={"threads": text}).settings["threads"]
    assert (found, type(found)) == (value, type(value))


def test_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (options,) = read(tmp_path, "filesystems: [{fs: s3, anon: true}]").filesystems
    asked: list[Any] = []
    made_up = SimpleNamespace(filesystem=lambda name, **more: asked.append((name, more)) or "a file system")
    monkeypatch.setitem(sys.modules, "fsspec", made_up)
    assert (filesystem(options), asked) == ("a file system", [("s3", {"anon": True})])
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(WarehouseError, match=r"the file system .s3. of the dbt profile cannot be used: .*; install"):
        filesystem(options)


def test_another_session_has_the_settings_of_the_first(tmp_path: Path) -> None:
    """DuckDB gives a cursor the time zone of the machine, and no setting that `set` made for one session."""
    made(tmp_path, "shop.duckdb")
    (tmp_path / "rates.csv").write_text("rate\n5\n")
    connection = read(tmp_path, "settings: {integer_division: true, TimeZone: Asia/Kolkata}")
    asked = "select current_setting('TimeZone') as zone, rate / 2 as half from read_csv('rates.csv')"
    with DuckDBWarehouse(connection) as warehouse:
        for session in (warehouse, warehouse.another_session(), warehouse.another_session()):
            assert session.row(asked, "the rates") == {"zone": "UTC", "half": 2}


# What is refused -------------------------------------------------------------------------------------------

REFUSED = {
    "a typo": ("secrts: []", "secrts: unknown key; did you mean 'secrets'? allowed: attach, config_options, "),
    "any other key": ("colour: red", "colour: unknown key; allowed: attach, "),
    "remote": (
        "remote: {host: x, port: 1, user: u, password: hunter2}",
        "remote: is a server that runs SQL for dbt; pit-join reads a DuckDB file (path: name.duckdb)",
    ),
    "attach: a typo": ("attach: [{path: a.db, typ: sqlite}]", "attach.#1.typ: unknown key; did you mean 'type'?"),
    "attach: no path": ("attach: [{alias: hunter2}]", "attach.#1: must be a mapping with 'path', a text"),
    "attach: a mapping": ("attach: {path: hunter2}", "attach: must be a list, got dict"),
    "attach: options": ("attach: [{path: a.db, options: [hunter2]}]", "attach.#1.options: must be a mapping"),
    "attach: an option": (
        "attach: [{path: a.db, options: {'type sqlite) --': hunter2}}]",
        "attach.#1.options: must be a mapping",
    ),
    "attach: type twice": (
        "attach: [{path: a.db, type: sqlite, options: {type: duckdb}}]",
        "attach.#1.options.type: is given beside attach.#1.type; leave one out",
    ),
    "attach: MotherDuck": (
        "attach: [{path: 'md:shop?motherduck_token=hunter2'}]",
        "attach.#1.path: is in MotherDuck, which pit-join does not read, got md:shop",
    ),
    "extensions: a typo": (
        "extensions: [httpfs, {name: h3, repository: community}]",
        "extensions.#2.repository: unknown key; allowed: name, repo",
    ),
    "extensions: a number": ("extensions: [5]", "extensions.#1: must be a name, or a mapping with 'name', got 5"),
    "secrets: no type": ("secrets: [{secret: hunter2}]", "secrets.#1: must be a mapping with 'type', a text"),
    "secrets: a mapping": ("secrets: {type: s3, secret: hunter2}", "secrets: must be a list, got dict"),
    "secrets: an option": (
        "secrets: [{type: http, 'a b': hunter2}]",
        "secrets.#1.a b: must be the name of an option of DuckDB's `create secret`",
    ),
    "filesystems": ("filesystems: [{protocol: s3}]", "filesystems.#1: must be a mapping with 'fs', a text"),
    "settings": ("settings: [hunter2]", "settings: must be a mapping of names to values, got list"),
    "use_credential_provider": ("use_credential_provider: gcp", "use_credential_provider: must be aws, got 'gcp'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    with pytest.raises(ProjectError) as found:
        read(tmp_path, text)
    (problem,) = found.value.problems
    assert problem.startswith(f"{tmp_path}/profiles.yml: the target 'dev': {message}")
    assert "hunter2" not in problem


def test_all_problems_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as found:
        read(tmp_path, "{secrts: [], thread: 4, attach: [{pth: x}], remote: {host: h}}")
    assert len(found.value.problems) == 4


@pytest.mark.parametrize("path", [":memory:", "md:shop?motherduck_token=hunter2", "ducklake:x.ducklake", "s3://a/b.db"])
def test_a_target_that_is_not_a_file(path: str, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"the target 'dev' lies in .*; pit-join reads a DuckDB file") as found:
        read(tmp_path, path=path)
    assert "hunter2" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("settings: {TimeZone: UTC}", True),
        ("settings: {timezone: utc, threads: 2}", True),
        ("settings: {TimeZone: Etc/UTC}", True),
        ("settings: {TimeZone: \"{{ env_var('NOT_SET', 'UTC') }}\"}", True),
        ("settings: {TIMEZONE: UTC, TimeZone: Asia/Kolkata}", False),  # dbt sets one after the other
        ("settings: {TimeZone: America/New_York}", False),
        ("settings: {TimeZone: null}", False),
        ("settings: {threads: 2}", False),
        ("config_options: {TimeZone: UTC}", False),  # DuckDB refuses it before dbt has begun
        ("", False),
    ],
)
def test_whether_dbt_writes_utc(text: str, pinned: bool, tmp_path: Path) -> None:
    assert read(tmp_path, text).pins_utc is pinned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("secrets: [{type: http, bearr_token: hunter2}]", r"settings of the dbt profile cannot be used: .*bearr_token"),
        ("secrets: [{type: nosuch, token: hunter2}]", r"settings of the dbt profile cannot be used: .*nosuch"),
        ("attach: [{path: lost.duckdb}]", r"the warehouse .*/lost\.duckdb does not exist"),
        (
            "attach: [{path: shop.duckdb, alias: b, options: {nosuch: hunter2}}]",
            "shop.duckdb cannot be opened: .*nosuch",
        ),
        (
            "attach: [{path: 'https://x:hunter2@127.0.0.1:1/x.db', alias: far}]",
            "the database 'far' .* cannot be opened",
        ),
    ],
)
def test_what_duckdb_refuses(text: str, message: str, tmp_path: Path) -> None:
    made(tmp_path, "shop.duckdb")
    config = {"config_options": {"autoinstall_known_extensions": False, "autoload_known_extensions": False}}
    with pytest.raises(PitJoinError, match=message) as found, DuckDBWarehouse(read(tmp_path, text, **config), wait=0):
        pass
    assert "hunter2" not in str(found.value)


def test_a_profile_that_is_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text("shop: [hunter2]")
    with pytest.raises(ProjectError, match=r"the profile 'shop' must be a mapping, got list$"):
        read_profile(path, "shop", None, tmp_path)


@pytest.mark.parametrize("expression", ["{{ 1 / 0 }}", "{{ none + 1 }}", "{{ {}.a.b }}", "{{ x"])
def test_an_expression_that_fails(tmp_path: Path, expression: str) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text(f"shop: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{expression}'}}}}}}")
    with pytest.raises(ProjectError, match=r"profiles.yml: cannot render .*: .+"):
        read_profile(path, "shop", None, tmp_path)
