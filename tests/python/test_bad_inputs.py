"""Bad inputs: what each ends with and what it says, and that nothing else happens.

`python tests/python/test_bad_inputs.py` prints the table "input | exit | message" as Markdown.

Two small dbt projects are made: one that is right, whose tables are written with DuckDB itself, and one in which nearly
every declaration is wrong. The command runs in this process, with its output caught at the level of file descriptors.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import BASE, KEYS, VALUE, Result, make_project, run, view
from support.runs import number_of, sampled

from pit_join import FeatureStore, PitJoinError
from pit_join.definitions.reading import _overwritten

pytestmark = pytest.mark.dbt

T = datetime(2026, 3, 18, 14, 30, tzinfo=timezone.utc)
LONG = "x" * 200
SPINE = pa.table({"user_id": ["u1"], "event_timestamp": [T]})


# --------------------------------------------------------------------------------------------------- the projects


ODD = ("select", "two words", 'a "quoted" one', "smile 😀", "_lead", "it's", "semi;colon --", "rowid", LONG)


# Conditions of aggregations by the name of the view that has them.
WHERES = {
    "where_unfinished": "value > ",
    "where_of_no_column": "valeu > 1",
    "where_of_two": "true) then 1 end from warehouse.other_key; drop table warehouse.other_key; select case when (true",
}


def counting(where: str) -> str:
    """A view that counts events."""
    return view(
        f"{KEYS}, aggregations: [{{name: seen, function: count, window: 1 day, where: {json.dumps(where)}}}]",
        f"{BASE}, {VALUE}",
    )


def make_shop(folder: Path) -> Path:
    odd = ", ".join(f"{{name: {json.dumps(name, ensure_ascii=False)}, data_type: integer}}" for name in ODD)
    score = "{name: score, data_type: double}"
    views = {
        "user_activity": view(
            f"{KEYS}, ttl: 30 days",
            f"{BASE}, {{name: logins, data_type: bigint, config: {{meta: {{pit_join: {{default: 0}}}}}}}}, {score}",
        ),
        "user_mood": view(KEYS, f"{BASE}, {score}"),
        "account": view(
            "entity: account, join_keys: [account_id], created_timestamp: loaded_at, deleted: gone",
            "{name: account_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}, "
            "{name: loaded_at, data_type: timestamptz}, {name: gone, data_type: boolean}, "
            "{name: amount, data_type: 'decimal(10,2)'}",
        ),
        "bad_default": view(
            KEYS, f"{BASE}, {{name: day, data_type: date, config: {{meta: {{pit_join: {{default: '2026-99-99'}}}}}}}}"
        ),
        "never_built": view(KEYS, f"{BASE}, {VALUE}"),
        "was_dropped": view(KEYS, f"{BASE}, {VALUE}"),
        "lost_column": view(KEYS, f"{BASE}, {VALUE}, {{name: other, data_type: double}}"),
        "other_time": view(KEYS, f"{BASE}, {VALUE}"),
        "other_key": view(
            KEYS, f"{{name: user_id, data_type: bigint}}, {BASE.split(', ', 2)[2]}, {VALUE}".replace("}}", "}")
        ),
        "is_a_view": view(KEYS, f"{BASE}, {VALUE}"),
        "member": view(KEYS, f"{BASE}, {{name: status, data_type: varchar}}"),
        "order": view(KEYS, f"{BASE}, {odd}"),
        "_under": view(KEYS, f"{BASE}, {VALUE}"),
        "it's": view(KEYS, f"{BASE}, {VALUE}"),
        "émoji😀": view(KEYS, f"{BASE}, {VALUE}"),
        LONG[:150]: view(KEYS, f"{BASE}, {VALUE}"),
        **{name: counting(where) for name, where in WHERES.items()},
        "other_number": view(
            f"{KEYS}, aggregations: [{{name: total, function: sum, column: value, window: 1 day}}]",
            f"{BASE}, {{name: value, data_type: bigint}}",
        ),
        "too_much": view(
            f"{KEYS}, aggregations: [{{name: total, function: sum, column: value, window: lifetime}}]",
            f"{BASE}, {{name: value, data_type: bigint}}",
        ),
        "odd_keys": view(
            """entity: odd, join_keys: ["group", "the \\"key\\" 😀"]""",
            """{name: "group", data_type: varchar}, {name: "the \\"key\\" 😀", data_type: bigint}, """
            f"""{{name: "at", data_type: timestamptz}}, {VALUE}""",
            event_time="at",
        ),
    }
    exposures = (
        "exposures:\n  - {name: churn, type: ml, owner: {email: a@b.example}, depends_on: [ref('user_activity')], "
        "config: {meta: {pit_join: {features: ['user_activity:logins']}}}}\n"
    )
    make_project(folder, views, exposures)
    (folder / "models" / "passing.sql").write_text("{{ config(materialized='ephemeral') }} select 1 as one")
    (folder / "models" / "unbuilt_spine.sql").write_text("select 1 as one")
    (folder / "seeds" / "labels.csv").write_text("user_id,event_timestamp,label\nu1,2026-03-18 14:30:00,1\n")
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        user = "user_id varchar, event_timestamp timestamptz"
        tables = {
            "user_activity": (
                f"{user}, logins bigint, score double",
                "('u1', '2026-03-01', 12, 0.5), ('u1', '2026-01-02', 2, 0.2)",
            ),
            "user_mood": (f"{user}, score double", "('u1', '2026-03-01', 7)"),
            "account": (
                "account_id bigint, event_timestamp timestamptz, loaded_at timestamptz, gone boolean, "
                "amount decimal(10,2)",
                "(1, '2026-03-01', '2026-03-02', false, 1.25), "
                "(9007199254740993, '2026-03-01', '2026-03-02', false, 7)",
            ),
            "member": (f"{user}, status varchar", "('u1', '2026-03-01', 'gold')"),
            "bad_default": (f"{user}, day date", "('u1', '2026-03-01', null)"),
            "lost_column": (user, "('u1', '2026-03-01')"),
            "other_time": ("user_id varchar, event_timestamp varchar, value double", "('u1', '2026-03-01', 1)"),
            "other_key": (f"{user}, value double", "('u1', '2026-03-01', 1)"),
            **dict.fromkeys((*WHERES, "other_number"), (f"{user}, value double", "('u1', '2026-03-01', 1)")),
            "too_much": (f"{user}, value bigint", f"('u1', '2026-03-01', {2**62}), ('u1', '2026-03-01', {2**62})"),
            "_under": (f"{user}, value double", "('u1', '2026-03-01', 1)"),
            "it's": (f"{user}, value double", "('u1', '2026-03-01', 1)"),
            "émoji😀": (f"{user}, value double", "('u1', '2026-03-01', 1)"),
            LONG[:150]: (f"{user}, value double", "('u1', '2026-03-01', 1)"),
            "order": (
                user + "".join(f', "{name.replace(chr(34), chr(34) * 2)}" integer' for name in ODD),
                f"('u1', '2026-03-01', {', '.join(str(10 + i) for i in range(len(ODD)))}), "
                f"('u1', '2026-04-01', {', '.join('99' for _ in ODD)})",
            ),
            "odd_keys": (
                '"group" varchar, "the ""key"" 😀" bigint, "at" timestamptz, value double',
                "('g', 7, '2026-03-01', 5)",
            ),
        }
        for name, (columns, rows) in tables.items():
            connection.execute(f'create table "{name}" ({columns})')
            connection.execute(f'insert into "{name}" values {rows}')
        connection.execute(
            "create view is_a_view as select 'u1' as user_id, now() as event_timestamp, 1.0::double as value"
        )
    return folder


# name of the view -> (its YAML, what the message says of it)
WRONG_VIEWS: dict[str, tuple[str, str]] = {
    "v_typo": (
        view(f"{KEYS}, ttll: 3 days", f"{BASE}, {VALUE}"),
        r"v_typo: .*ttll: unknown key; did you mean 'ttl'\? allowed",
    ),
    "v_aggregations": (view(f"{KEYS}, Ttl: 3 days", f"{BASE}, {VALUE}"), r"\.Ttl: unknown key; did you mean 'ttl'\?"),
    "v_ttl_zero": (
        view(f"{KEYS}, ttl: 0 days", f"{BASE}, {VALUE}"),
        "ttl: is '0 days', so that no value .* leave it out",
    ),
    "v_ttl_number": (
        view(f"{KEYS}, ttl: 0", f"{BASE}, {VALUE}"),
        "ttl: cannot read the duration '0'; write for example",
    ),
    "v_ttl_words": (
        view(f"{KEYS}, ttl: a fortnight", f"{BASE}, {VALUE}"),
        "ttl: cannot read the duration 'a fortnight'",
    ),
    "v_ttl_months": (view(f"{KEYS}, ttl: 1 month", f"{BASE}, {VALUE}"), "ttl: cannot read the duration '1 month'"),
    "v_ttl_negative": (view(f"{KEYS}, ttl: -3 days", f"{BASE}, {VALUE}"), "ttl: cannot read the duration '-3 days'"),
    "v_ttl_huge": (view(f"{KEYS}, ttl: 99999999999999 days", f"{BASE}, {VALUE}"), "ttl: the duration .* is too long"),
    "v_lag_huge": (view(f"{KEYS}, lag: 999999999 days", f"{BASE}, {VALUE}"), "lag: the duration .* is too long"),
    "v_ttl_null": (view(f"{KEYS}, ttl: ", f"{BASE}, {VALUE}"), "ttl: .*(empty|null|None)"),
    "v_lag_list": (view(f"{KEYS}, lag: [1 day]", f"{BASE}, {VALUE}"), r"lag: cannot read the duration '\['1 day'\]'"),
    "v_slo_zero": (view(f"{KEYS}, freshness_slo: 0h", f"{BASE}, {VALUE}"), "freshness_slo: is '0h'"),
    "v_no_entity": (view("join_keys: [user_id]", f"{BASE}, {VALUE}"), "entity: must name what the view describes"),
    "v_no_keys": (view("entity: user", f"{BASE}, {VALUE}"), "join_keys: must list the columns .* got None"),
    "v_key_missing": (
        view("entity: user3, join_keys: [user_idd]", f"{BASE}, {VALUE}"),
        "join_keys: no column 'user_idd' is listed; did you mean 'user_id'",
    ),
    "v_key_twice": (
        view("entity: u4, join_keys: [user_id, user_id]", f"{BASE}, {VALUE}"),
        "join_keys: a column is listed twice",
    ),
    "v_keys_mapping": (
        view("entity: u5, join_keys: {a: user_idd}", f"{BASE}, {VALUE}"),
        "join_keys: no column 'user_idd' is listed; did you mean 'user_id'",
    ),
    "v_keys_number": (
        view("entity: u7, join_keys: {a: 5}", f"{BASE}, {VALUE}"),
        "join_keys: must list the columns .* or map each of its keys to the column .* got {'a': 5}",
    ),
    "v_keys_null": (
        view("entity: u7, join_keys: {user_id: }", f"{BASE}, {VALUE}"),
        "join_keys: must .*'user_id': None",
    ),
    "v_keys_empty": (view("entity: u7, join_keys: {}", f"{BASE}, {VALUE}"), "join_keys: must list .* got {}"),
    "v_keys_unnamed": (
        view("entity: u7, join_keys: {'': user_id}", f"{BASE}, {VALUE}"),
        "join_keys: must .*'': 'user_id'",
    ),
    "v_keys_mixed": (
        view("entity: u7, join_keys: [{a: user_id}]", f"{BASE}, {VALUE}"),
        r"join_keys: must list .* got \[{'a': 'user_id'}\]",
    ),
    "v_keys_one_column": (
        view("entity: u7, join_keys: {a: user_id, b: user_id}", f"{BASE}, {VALUE}"),
        "join_keys: two columns have one name in {'a': 'user_id', 'b': 'user_id'}",
    ),
    "v_keys_one_name": (
        view("entity: u7, join_keys: {a: user_id, A: n}", f"{BASE}, {{name: n, data_type: int}}, {VALUE}"),
        "join_keys: two keys have one name in .* letter case",
    ),
    "v_keys_feature": (
        view("entity: u7, join_keys: {VALUE: user_id}", f"{BASE}, {VALUE}"),
        "join_keys: the key 'VALUE' has the name of another column, which is a feature, a time or a mark; rename",
    ),
    "v_keys_time": (
        view("entity: u7, join_keys: {event_timestamp: user_id}", f"{BASE}, {VALUE}"),
        "join_keys: the key 'event_timestamp' has the name of another column",
    ),
    "v_keys_window": (
        view(
            "entity: u7, join_keys: {n: user_id}, aggregations: [{name: N, function: count, window: 1 day}]",
            f"{BASE}, {VALUE}",
        ),
        "aggregations.N.name: 'N' is the name of a join key",
    ),
    "v_keys_map_differs": (
        view("entity: user, join_keys: {UserID: user_id}", f"{BASE}, {VALUE}"),
        r"join_keys: views of one entity share its keys; '\w+' of 'user' has \['user_id'\], got \['UserID'\]",
    ),
    "v_keys_type": (
        view("entity: u7, join_keys: {a: when}", f"{BASE}, {{name: when, data_type: time}}, {VALUE}"),
        "join_keys: the column 'when' is of type time, and a key is",
    ),
    "v_keys_default": (
        view(
            "entity: u7, join_keys: {a: user_id}",
            BASE.replace("varchar", "varchar, config: {meta: {pit_join: {default: x}}}") + f", {VALUE}",
        ),
        "columns.user_id.default: only a feature has a default",
    ),
    "v_keys_overwritten": (
        view(
            "entity: u7, join_keys: {a: user_id}",
            f"{BASE}, {VALUE}",
            more="materialized: incremental, unique_key: user_id, ",
        ),
        "config.unique_key: each run overwrites the history, since user_id keeps one row a key",
    ),
    "v_key_is_time": (
        view("entity: u6, join_keys: [user_id, event_timestamp]", f"{BASE}, {VALUE}"),
        "event_timestamp.* (key|join_keys)",
    ),
    "v_keys_differ": (
        view("entity: user, join_keys: [other_id]", f"{BASE}, {{name: other_id, data_type: bigint}}, {VALUE}"),
        r"join_keys: views of one entity share its keys; '\w+' of 'user' has \['user_id'\], got \['other_id'\]",
    ),
    "v_no_time": (view(KEYS, f"{BASE}, {VALUE}", event_time=""), "config.event_time: is missing; name the column"),
    "v_time_missing": (
        view(KEYS, f"{BASE}, {VALUE}", event_time="event_timestam"),
        "config.event_time: no column 'event_timestam' is listed; did you mean 'event_timestamp'",
    ),
    "v_time_text": (
        view(KEYS, f"{BASE}, {VALUE}", event_time="user_id"),
        "event_time: the column 'user_id' must be a timestamp",
    ),
    "v_created_missing": (
        view(f"{KEYS}, created_timestamp: loaded", f"{BASE}, {VALUE}"),
        "created_timestamp: no column 'loaded' is listed; columns: ",
    ),
    "v_created_number": (
        view(f"{KEYS}, created_timestamp: value", f"{BASE}, {VALUE}, {{name: x, data_type: int}}"),
        "created_timestamp: the column 'value' must be a timestamp or date, got double",
    ),
    "v_deleted_number": (
        view(f"{KEYS}, deleted: value", f"{BASE}, {VALUE}, {{name: x, data_type: int}}"),
        "deleted: the column 'value' must be boolean, or a text that is true or false, got double",
    ),
    "v_inclusive": (view(f"{KEYS}, inclusive: 'no'", f"{BASE}, {VALUE}"), "inclusive: must be true or false, got 'no'"),
    "v_online_store": (
        view(f"{KEYS}, online_store: Fast-1", f"{BASE}, {VALUE}"),
        "online_store: must be a name of small letters, digits and underscores, got 'Fast-1'",
    ),
    "v_online": (view(f"{KEYS}, online: 1", f"{BASE}, {VALUE}"), "online: must be true or false, got 1"),
    "v_meta_text": (
        view("!later", f"{BASE}, {VALUE}"),
        "config.meta.pit_join: must be a mapping, got 'later'; allowed keys",
    ),
    "v_ephemeral": (
        view(KEYS, f"{BASE}, {VALUE}", more="materialized: ephemeral, "),
        "config.materialized: an ephemeral model has no relation that could be read; use view, table or incremental",
    ),
    "v_overwritten": (
        view(KEYS, f"{BASE}, {VALUE}", more="materialized: incremental, unique_key: user_id, "),
        "config.unique_key: each run overwrites the history, since user_id keeps one row a key; add the event time",
    ),
    "v_merged": (
        view(
            KEYS,
            f"{BASE}, {VALUE}",
            more="materialized: incremental, incremental_strategy: merge, unique_key: [USER_ID], ",
        ),
        "config.unique_key: each run overwrites the history, since USER_ID keeps",
    ),
    "v_no_features": (view(KEYS, BASE), "columns: no feature is listed"),
    "v_no_type": (view(KEYS, f"{BASE}, {{name: value}}"), "columns.value: has no data_type"),
    "v_reserved": (
        view(KEYS, f"{BASE}, {{name: _PIT_row, data_type: int}}"),
        "columns._PIT_row: names that start with _pit_",
    ),
    "v_case": (
        view(KEYS, f"{BASE}, {VALUE}, {{name: Value, data_type: int}}"),
        "columns.Value: 'value' is listed too, and letter case does not tell",
    ),
    "v_default_text": (
        view(KEYS, BASE + ", {name: n, data_type: bigint, config: {meta: {pit_join: {default: none}}}}"),
        "columns.n.default: 'none' is not a whole number, and the type is bigint",
    ),
    "v_default_half": (
        view(KEYS, BASE + ", {name: n, data_type: integer, config: {meta: {pit_join: {default: 0.5}}}}"),
        "columns.n.default: 0.5 is not a whole number",
    ),
    "v_default_bool": (
        view(KEYS, BASE + ", {name: n, data_type: boolean, config: {meta: {pit_join: {default: 0}}}}"),
        "columns.n.default: 0 is not true or false",
    ),
    "v_default_list": (
        view(KEYS, BASE + ", {name: n, data_type: double, config: {meta: {pit_join: {default: [1]}}}}"),
        r"columns.n.default: \[1\] does not fit the type double",
    ),
    "v_default_key": (
        view(KEYS, BASE.replace("varchar", "varchar, config: {meta: {pit_join: {default: x}}}") + f", {VALUE}"),
        "columns.user_id.default: only a feature has a default",
    ),
    "v_column_typo": (
        view(KEYS, BASE + ", {name: n, data_type: bigint, config: {meta: {pit_join: {defualt: 0}}}}"),
        r"columns\.n\..*defualt: unknown key; did you mean 'default'",
    ),
    "v_column_text": (
        view(KEYS, BASE + ", {name: n, data_type: bigint, config: {meta: {pit_join: exclude}}}"),
        "columns.n.config.meta.pit_join: must be a mapping, got 'exclude'",
    ),
    "v_column_exclude": (
        view(
            KEYS, BASE + f", {VALUE}" + ", {name: n, data_type: bigint, config: {meta: {pit_join: {exclude: 'yes'}}}}"
        ),
        r"columns\.n\.exclude: must be true or false, got 'yes'",
    ),
    "v_column_slo": (
        view(KEYS, BASE + ", {name: n, data_type: bigint, config: {meta: {pit_join: {freshness_slo: soon}}}}"),
        r"columns\.n\.freshness_slo: cannot read the duration 'soon'",
    ),
}

# name of the exposure -> (its meta, its type, what it depends on, what the message says of it)
WRONG_SERVICES: dict[str, tuple[str, str, str, str]] = {
    "s_typo": ("{features: ['good:value'], full_feature_name: true}", "ml", "good",
        "full_feature_name: unknown key; did you mean"),
    "s_empty": ("{features: []}", "ml", "good",
        r"features: must be a list of references such as view:feature, got \[\]"),
    "s_text": ("{features: 'good:value'}", "ml", "good", "features: must be a list of references .* got 'good:value'"),
    "s_dashboard": ("{features: ['good:value']}", "dashboard", "good",
        "type: a feature service is an exposure of type ml, got"),
    "s_view": ("{features: ['goood:value']}", "ml", "good",
        "features: unknown feature view 'goood'; did you mean 'good'"),
    "s_feature": ("{features: ['good:valu']}", "ml", "good",
        "features: view 'good' has no feature 'valu'; did you mean 'value'"),
    "s_reference": ("{features: ['good']}", "ml", "good",
        "features: cannot read the reference 'good'; write view:feature"),
    "s_role": ("{features: [{view: good, as: other}]}", "ml", "good", "features: the role 'other' needs 'features'"),
    "s_role_typo": (
        "{features: [{view: good, alias: other, features: ['*']}]}", "ml", "good",
        "features: unknown key 'alias' in .* allowed are as, features, join_keys, view",
    ),
    "s_role_key": (
        "{features: [{view: good, as: o, join_keys: {user: x}, features: ['*']}]}", "ml", "good",
        "features: view 'good' has no join key 'user'; did you mean 'user_id'",
    ),
    "s_depends": ("{features: ['good:value']}", "ml", "v_typo", r"depends_on: does not list ref\('good'\)"),
    "s_meanings": (
        "{features: ['good:value', {view: good, join_keys: {user_id: x}, features: ['*']}]}", "ml", "good",
        "features: 'good' is used in two meanings",
    ),
    "s_flag": ("{features: ['good:value'], full_feature_names: 'on'}", "ml", "good",
        "full_feature_names: must be true or false"),
    "s_meta": ("churn", "ml", "good",
        "config.meta.pit_join: must be a mapping, got 'churn'; allowed keys are features"),
}  # fmt: skip


def make_wrong(folder: Path) -> Path:
    exposures = "exposures:\n" + "".join(
        f"  - {{name: {name}, type: {kind}, owner: {{email: a@b.example}}, depends_on: [ref('{depends}')], "
        f"config: {{meta: {{pit_join: {meta}}}}}}}\n"
        for name, (meta, kind, depends, _) in WRONG_SERVICES.items()
    )
    good = {"good": view(KEYS, f"{BASE}, {VALUE}")}
    return make_project(folder, good | {name: yaml for name, (yaml, _) in WRONG_VIEWS.items()}, exposures)


# ------------------------------------------------------------------------------------------------------ the cases


@dataclass(frozen=True)
class Case:
    """`arguments` may hold {f} for the folder of files and {out} for the folder of outputs; `says` are patterns."""

    title: str
    status: int
    says: tuple[str, ...]
    arguments: tuple[str, ...]
    around: Callable[[Path], contextlib.AbstractContextManager[Any]] = lambda shop: contextlib.nullcontext()
    project: str = "shop"
    prefix: tuple[str, ...] = ()


FEATURES = ("--features", "user_activity:logins")
OUT = ("--output", "{out}/set.parquet")


def case(title: str, status: int, says: str | tuple[str, ...], *arguments: str, **more: Any) -> Case:
    return Case(title, status, (says,) if isinstance(says, str) else says, ("build-training-set", *arguments), **more)


def spine(title: str, says: str | tuple[str, ...], file: str, *arguments: str, status: int = 2, **more: Any) -> Case:
    return case(title, status, says, "--spine", f"{{f}}/{file}", *(arguments or FEATURES), *OUT, **more)


def features(title: str, says: str | tuple[str, ...], *arguments: str, status: int = 2, **more: Any) -> Case:
    return case(title, status, says, "--spine", "labels", *arguments, *OUT, **more)


@contextlib.contextmanager
def replaced(shop: Path, content: bytes | None) -> Iterator[None]:
    """Another file, or none, in the place of the warehouse."""
    path, kept = shop / "warehouse.duckdb", shop / "kept"
    path.rename(kept)
    try:
        if content is not None:
            path.write_bytes(content)
        yield
    finally:
        path.unlink(missing_ok=True)
        kept.rename(path)


@contextlib.contextmanager
def held(shop: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the warehouse open for writing."""
    code = "import duckdb, time; c = duckdb.connect('warehouse.duckdb'); print('open', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=shop, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def small_files(shop: Path) -> Iterator[None]:
    """The disk takes no more than 2,000 bytes of a file."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@contextlib.contextmanager
def environment(shop: Path, **values: str) -> Iterator[None]:
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


CASES = [
    # usage
    case("no features", 2, "give either --features or --service", "--spine", "labels", *OUT),
    case("both --features and --service", 2, "give either --features or --service",
         "--spine", "labels", *FEATURES, "--service", "churn", *OUT),
    case("--features with nothing in it", 2, "no features are asked for; name them as view:feature",
         "--spine", "labels", "--features", " , ", *OUT),
    case("no --output", 2, ("give --output FILE", "--sql"), "--spine", "labels", *FEATURES),
    case("no --spine", 2, "give --spine, or --from-metadata", *FEATURES, *OUT),
    case("an unknown option", 2, ("No such option", "--feature"), "--spine", "labels", "--featurs", "a:b", *OUT),
    case("--role beside --service", 2, "--role goes with --features",
         "--spine", "labels", "--service", "churn", "--role", "user_activity", *OUT),
    Case("an unknown command", 2, ("No such command 'build'",), ("build",)),
    Case("--store twice", 2, ("--store names a store twice",), ("views",), prefix=("--store", "a=b", "--store", "a=c")),
    Case("--store without a URL", 2, ("--store is empty",), ("views",), prefix=("--store", "a=")),
    Case("--wait -1", 2, ("--wait", "-1"), ("views",), prefix=("--wait", "-1")),
    # outputs
    case("an output with another ending", 2, (r"cannot tell the format of .*set\.xlsx", r"\.parquet, \.csv, \.arrow"),
         "--spine", "labels", *FEATURES, "--output", "{out}/set.xlsx"),
    case("an output without an ending", 2, "cannot tell the format",
         "--spine", "labels", *FEATURES, "--output", "{out}/set"),
    case("an output in a folder that is missing", 2, "the folder .*nowhere does not exist; make it first",
         "--spine", "labels", *FEATURES, "--output", "{out}/nowhere/set.parquet"),
    case("an output that is a folder", 2, "folder.parquet is a folder; give the name of a file",
         "--spine", "labels", *FEATURES, "--output", "{out}/folder.parquet"),
    case("an output that is a pipe", 2, "pipe.csv is a device or a pipe; give the name of a file",
         "--spine", "labels", *FEATURES, "--output", "{out}/pipe.csv"),
    case("an output whose folder is a file", 2, "(is not a folder|does not exist)",
         "--spine", "labels", *FEATURES, "--output", "{f}/text.csv/set.parquet"),
    *(case(f"a disk that is full (.{kind})", 2, (rf"cannot write .*set\.{kind}: ", "(File too large|too large)"),
           "--spine", "{f}/many.parquet", *FEATURES, "--output", f"{{out}}/set.{kind}", around=small_files)
      for kind in ("parquet", "csv", "arrow")),
    case("an output name that is too long", 2, "cannot write .*: File name too long",
         "--spine", "labels", *FEATURES, "--output", "{out}/" + "n" * 300 + ".parquet"),
    # references
    features("an unknown view, nearly right", "unknown feature view 'user_activty'; did you mean 'user_activity'\\?",
             "--features", "user_activty:logins"),
    features("an unknown view, far off", ("unknown feature view 'zzz'; feature views: ", "user_mood"), "--features",
        "zzz:*"),
    features("an unknown feature, nearly right", "'user_activity' has no feature 'login'; did you mean 'logins'\\?",
             "--features", "user_activity:login"),
    features("two unknown names at once", ("feature view 'nope'", "no feature 'nix'"),
             "--features", "nope:a,user_activity:nix"),
    features("an unknown service", "unknown feature service 'churns'; did you mean 'churn'\\?", "--service", "churns"),
    features("a view as a service", "'user_activity'; 'user_activity' is a feature view; ask for 'user_activity:\\*'",
             "--service", "user_activity"),
    features("a reference without a feature", "cannot read the reference 'user_activity'; write view:feature",
             "--features", "user_activity"),
    features("a reference of three parts", "cannot read the reference 'a:b:c'", "--features", "a:b:c"),
    features("a reference with an open quote", "cannot read the reference", "--features", '"user_activity:logins'),
    features("a --role that cannot be read", r"cannot read the view 'a=\(b'; write view\(key=column\)",
             *FEATURES, "--role", "a=(b"),
    features("a --role with no keys in its parentheses", "cannot read the view", *FEATURES, "--role",
        "user_activity()"),
    features("a --role that no feature uses",
        "no feature of the view 'other' is asked for; add for example 'other:\\*'",
             *FEATURES, "--role", "other=user_activity"),
    features("a --role given twice", "the view 'user_activity' is given twice; name one of them alias=view",
             *FEATURES, "--role", "user_activity(user_id=a)", "--role", "user_activity(user_id=b)"),
    features("a --role of an unknown view", "unknown feature view 'user_activty'; did you mean",
             "--features", "other:*", "--role", "other=user_activty"),
    features("a --role with an unknown key", "view 'user_activity' has no join key 'user'; did you mean 'user_id'",
             "--features", "other:*", "--role", "other=user_activity(user=user_id)"),
    features("a --role with one key given twice", "user_id.* twice",
             "--features", "other:*", "--role", "other=user_activity(user_id=a,user_id=b)"),
    features("a role whose column the spine lacks", "the spine labels has no column 'customer'; columns: .*user_id",
             "--features", "other:*", "--role", "other=user_activity(user_id=customer)"),
    # names that collide
    features("two views with one feature name", ("both user_activity:score and user_mood:score", "full.feature.names"),
             "--features", "user_activity:score,user_mood:score"),
    spine("a feature named like a column of the spine, in capitals",
          ("the feature 'logins' and the column 'LOGINS' of the spine", "--full-feature-names"), "collides.csv"),
    spine("a column named like one of --provenance", ("'user_activity__status'", "rename the column"),
          "provenance.csv", *FEATURES, "--provenance"),
    features("role names that differ in letter case", ("(?i)'?other'?.*'?OTHER'?", "(name|case)"),
             "--features", "other:score,OTHER:score", "--role", "other=user_activity", "--role", "OTHER=user_mood"),
    features("a feature named like one of --provenance", ("named member__status", "twice|both|one name|collide"),
             "--features", "member:*", "--provenance", "--full-feature-names"),
    features("a role named like the joins' own tables", "names that start with _pit_",
             "--features", "_pit_spine:*", "--role", "_pit_spine=user_mood"),
    # spines
    case("a spine file that is missing", 2, "nothing.csv does not exist; give the path of a CSV or Parquet file",
         "--spine", "{f}/nothing.csv", *FEATURES, *OUT),
    case("a spine name that is unknown", 2, "there is no spine 'label'; did you mean 'labels'\\?",
         "--spine", "label", *FEATURES, *OUT),
    spine("a spine that is a folder", ("folder.csv is a folder; a spine is one", "read_parquet\\('.*folder"),
          "folder.csv"),
    spine("a spine of several files", ("\\*.parquet is not one file; a spine is", "copy .*hive_partitioning = true"),
          "*.parquet"),
    spine("a spine of another format", r"book\.xlsx .*a file's name ends in \.csv or \.parquet", "book.xlsx"),
    spine("an empty CSV", "empty.csv cannot be read: the file is empty; its first line must name the columns",
          "empty.csv"),
    spine("a CSV of blank lines", "(no column|empty)", "blank.csv"),
    spine("a CSV without a header", "has no column 'user_id'; columns: ", "headerless.csv"),
    spine("a CSV with a column name twice", "(two columns|twice).*(label)", "twice.csv"),
    spine("a CSV with a column name twice, in capitals", "(two columns|twice).*(?i:label)", "twice_case.csv"),
    spine("a Parquet file with a column name twice", "(two columns|twice).*(label)", "twice.parquet"),
    spine("bytes named .csv", "garbage.csv", "garbage.csv"),
    spine("bytes named .parquet", "garbage.parquet.* cannot be read", "garbage.parquet"),
    spine("an empty .parquet", "empty.parquet.* cannot be read", "empty.parquet"),
    spine("a Parquet file cut off", "truncated.parquet.* cannot be read", "truncated.parquet"),
    spine("a CSV that is not UTF-8", "latin.csv cannot be read: line 2 is not UTF-8; save the file as UTF-8",
        "latin.csv"),
    spine("a CSV with too many values in row 3", ("ragged.csv cannot be read", "(?i)line:? 4"), "ragged.csv"),
    spine("a time that cannot be read in row 1,000", ("event_timestamp", "2026-13-45"), "bad_time.csv"),
    spine("times as whole numbers", "line 2: .* 'event_timestamp' must be a timestamp or date, got '1773844200'; write",
          "integer_time.csv"),
    spine("times with the month first, or last", ("event_timestamp", "2026-03-18"), "month_first.csv"),
    spine("times with the month first, or last, and hours", "event_timestamp", "month_first_hours.csv"),
    spine("times of the day only", "must be a timestamp or date, got '14:30:00'", "clock_time.csv"),
    spine("no time column", "has no column 'event_timestamp'; columns: at, user_id.* --event-timestamp", "no_time.csv"),
    case("a time column that is unknown", 2, "has no column 'when'; columns: ",
         "--spine", "labels", *FEATURES, "--event-timestamp", "when", *OUT),
    case("a label as the time column", 2, "line 2: the column 'label' must be a timestamp or date, got '1'",
         "--spine", "labels", *FEATURES, "--event-timestamp", "label", *OUT),
    spine("a text where the view's key is a number (CSV)", ("text_key.csv", "A-7", "(?i)bigint"), "text_key.csv",
        "--features", "account:*"),
    spine("a text where the view's key is a number (Parquet)",
        "the key 'account_id' .* is VARCHAR, .* is BIGINT; cast one",
          "text_key.parquet", "--features", "account:*"),
    spine("a number where the view's key is a text", "the key 'user_id' .* is BIGINT, .* is VARCHAR; cast one",
          "number_key.parquet"),
    spine("a key too large for the view's type", ("large_key.csv", "99999999999999999999"), "large_key.csv",
          "--features", "account:*"),
    spine("no key column", "has no column 'user_id'; columns: .* --role 'view\\(key=column\\)'", "no_key.csv"),
    spine("a column that starts with _pit_", "has the column '_pit_row'; names that start with _pit_", "pit.csv"),
    case("an ephemeral model as the spine", 2, "the model passing is ephemeral .* make it a table or a view",
         "--spine", "passing", *FEATURES, *OUT),
    case("a model as the spine that is not built", 3, ("the spine unbuilt_spine cannot be read", "dbt (build|run)"),
         "--spine", "unbuilt_spine", *FEATURES, *OUT),
    # gaps and overflow
    features("--gap that cannot be read", ("gap: cannot read the duration 'tomorrow'", "write for example"),
             *FEATURES, "--gap", "tomorrow"),
    features("--gap below zero", "gap: cannot read the duration '-1 day'", *FEATURES, "--gap", "-1 day"),
    features("--gap of centuries of centuries", "(?i)(gap.*(too long|overflow)|overflow|out of range)",
             *FEATURES, "--gap", "999999999999999 days"),
    features("a default that is no date", ("bad_default", "2026-99-99"), "--features", "bad_default:*"),
    # the warehouse
    features("the warehouse is missing", r"warehouse\.duckdb does not exist; build it with `dbt build`", *FEATURES,
        status=3,
             around=partial(replaced, content=None)),
    features("the warehouse is no DuckDB file", r"warehouse\.duckdb cannot be opened", *FEATURES, status=3,
             around=partial(replaced, content=b"SQLite format 3\0" * 1000)),
    features("the warehouse is an empty file", r"warehouse\.duckdb .*(cannot be opened|empty|no table)", *FEATURES,
        status=3,
             around=partial(replaced, content=b"")),
    features("another process holds the warehouse",
             ("waiting up to 1 s", "did not release it within 1 s .*try again .*--wait"), *FEATURES, status=3,
             around=held, prefix=("--wait", "1")),
    Case("views: another process holds the warehouse", 3, ("did not release it within 0.2 s",), ("views",),
         around=held, prefix=("--wait", "0.2")),
    Case("views: the warehouse is missing", 3, ("does not exist; build it",), ("views",),
         around=partial(replaced, content=None)),
    features("a view that is not built", "the table of the feature view 'never_built' cannot be read; run dbt build",
             "--features", "never_built:*", status=3),
    features("a view whose table has lost a column",
        "'lost_column' has no column 'value', 'other', which the YAML lists; run dbt build.* It has user_id",
             "--features", "lost_column:*", status=3),
    features("a view whose time has another type", "'event_timestamp' is declared timestamptz, .* is VARCHAR; correct",
             "--features", "other_time:*"),
    Case("views: a view whose time has another type, and one without a column", 3,
         ("has no column 'value', 'other'", "other_time: the column 'event_timestamp' is declared timestamptz"),
        ("views",)),
    features("a view whose key has another type", "other_key.*'user_id' is declared bigint, .* VARCHAR",
             "--features", "other_key:*"),
    features("a condition that ends too early", "where_unfinished: .*seen.where: 'value > ': it is not an SQL",
             "--features", "where_unfinished:*"),
    features("a condition on a column that is absent", r"where_of_no_column: aggregations.seen.where: .*valeu",
             "--features", "where_of_no_column:*"),
    features("a condition that holds another statement", "where_of_two: aggregations.seen.where: .* it is not an SQL",
             "--features", "where_of_two:*"),
    features("a sum of a column that has another kind of number", "'value' is declared bigint, .* is DOUBLE",
             "--features", "other_number:*"),
    features("a sum that does not fit", "'too_much'.*9223372036854775808.* out of range", "--features", "too_much:*"),
    # the project; `{f}` holds what is wrong with each
    Case("--project-dir without a project", 2, ("is not a dbt project .*give --project-dir",), ("views",),
        project="none"),
    Case("--project-dir that is missing", 2, ("is not a dbt project",), ("views",), project="missing"),
    Case("--project-dir that is a file", 2, ("is not a dbt project",), ("views",), project="text.csv"),
    Case("--target that is unknown", 2, ("the profile 'shop' has no target 'prod'; it has dev",), ("views",),
         prefix=("--target", "prod")),
    Case("--profiles-dir without profiles", 2, ("no profiles.yml in .*give --profiles-dir",), ("views",),
         prefix=("--profiles-dir", "{f}")),
    Case("no profiles.yml anywhere", 2, ("no profiles.yml in .*--profiles-dir",), ("views",), project="no_profiles"),
    Case("a profile of another name", 2, ("has no profile 'shop', which dbt_project.yml asks for; it has other",),
        ("views",),
         project="other_profile"),
    Case("a target of another engine", 2, ("'dev' is of type snowflake; pit-join reads duckdb and postgres",),
         ("views",), project="snowflake"),
    Case("a target in memory", 3, ("'dev' lies in :memory:; pit-join reads a DuckDB file",), ("views",),
        project="memory"),
    Case("an environment variable that is not set", 2, ("needs the environment variable SHOP_PATH, which is not set",),
         ("views",), project="env"),
    Case("a profile whose Jinja is broken", 2, ("profiles.yml: cannot render",), ("views",), project="jinja_profile"),
    Case("a profile whose outputs are a list", 2, ("profiles.yml",), ("views",), project="list_profile"),
    Case("a profile that is empty", 2, ("profiles.yml",), ("views",), project="empty_profile"),
    Case("a dbt_project.yml that is no YAML", 2, ("cannot read .*dbt_project.yml",), ("views",),
        project="yaml_project"),
    Case("a dbt_project.yml that is empty", 2, ("dbt_project.yml holds no mapping",), ("views",),
        project="empty_project"),
    Case("a dbt_project.yml without a profile", 2, ("profile",), ("views",), project="no_profile_key"),
    Case("models' YAML that is no YAML", 2, ("dbt cannot read the project", "models.yml"), ("views",),
        project="yaml_models"),
    Case("a model whose Jinja is broken", 2, ("dbt cannot read the project", r"broken\.sql|model .?.?broken"),
        ("views",),
         project="jinja_model"),
    Case("a day in models' YAML that is none", 2, ("dbt cannot read the project", "month must be in 1..12"), ("views",),
         project="yaml_date"),
    Case("a project without the macros", 2, ("does not have the pit_join macros; add to packages.yml",
        "dbt-package-path"),
         ("views",), project="no_macros"),
]  # fmt: skip


def make_small_projects(f: Path) -> None:
    """Projects that are wrong in one way; all but the last three end before dbt is started."""
    duck = "shop: {target: dev, outputs: {dev: {type: duckdb, path: w.duckdb}}}"
    good = {"good": view(KEYS, f"{BASE}, {VALUE}")}
    for name, profile in {
        "other_profile": duck.replace("shop", "other"),
        "snowflake": duck.replace("duckdb,", "snowflake,"),
        "memory": duck.replace("w.duckdb", "':memory:'"),
        "env": duck.replace("w.duckdb", "\"{{ env_var('SHOP_PATH') }}\""),
        "jinja_profile": duck.replace("w.duckdb", '"{{ env_var( }}"'),
        "list_profile": "shop: {target: dev, outputs: [1]}",
        "empty_profile": "",
        "yaml_project": duck,
        "empty_project": duck,
        "no_profile_key": duck,
        "no_profiles": "",
        "yaml_models": duck,
        "jinja_model": duck,
        "yaml_date": duck,
        "no_macros": duck,
    }.items():
        folder = make_project(f / name, good, macros=name != "no_macros")
        (folder / "profiles" / "profiles.yml").write_text(profile)
    shutil.rmtree(f / "no_profiles" / "profiles")
    (f / "yaml_project" / "dbt_project.yml").write_text("name: 'shop\nprofile: [")
    (f / "empty_project" / "dbt_project.yml").write_text("")
    (f / "no_profile_key" / "dbt_project.yml").write_text("name: shop\n")
    (f / "yaml_models" / "models" / "models.yml").write_text("models:\n  - name: [\n")
    (f / "yaml_date" / "models" / "models.yml").write_text("models: [{name: a, config: {meta: {day: 2026-99-99}}}]\n")
    (f / "jinja_model" / "models" / "broken.sql").write_text("select {% if %} 1")
    with duckdb.connect(str(f / "no_macros" / "w.duckdb")) as connection:
        connection.execute(
            "create table good as select 'u1' as user_id, now() as event_timestamp, 1.0::double as value"
        )
    (f / "none").mkdir()


def make_spines(f: Path) -> None:
    at = "2026-03-18 14:30:00"
    texts = {
        "text.csv": f"user_id,event_timestamp\nu1,{at}\n",
        "collides.csv": f"user_id,event_timestamp,LOGINS\nu1,{at},1\n",
        "provenance.csv": f"user_id,event_timestamp,user_activity__status\nu1,{at},1\n",
        "empty.csv": "",
        "blank.csv": "\n\n\n",
        "headerless.csv": f"u1,{at},1\nu2,{at},0\n",
        "twice.csv": f"user_id,event_timestamp,label,label\nu1,{at},1,2\n",
        "twice_case.csv": f"user_id,event_timestamp,label,Label\nu1,{at},1,2\n",
        "ragged.csv": f"user_id,event_timestamp\nu1,{at}\nu2,{at}\nu3,{at},5,6\nu4,{at}\n",
        "bad_time.csv": "user_id,event_timestamp\n"
        + f"u1,{at}\n" * 999
        + "u1,2026-13-45 00:00:00\n"
        + f"u1,{at}\n" * 10,
        "integer_time.csv": "user_id,event_timestamp\nu1,1773844200\n",
        "month_first.csv": "user_id,event_timestamp\nu1,03/01/2026\nu1,03/02/2026\n",
        "month_first_hours.csv": "user_id,event_timestamp\nu1,03/01/2026 14:30\nu1,03/02/2026 14:30\n",
        "clock_time.csv": "user_id,event_timestamp\nu1,14:30:00\n",
        "no_time.csv": f"user_id,at\nu1,{at}\n",
        "no_key.csv": f"customer,event_timestamp\nu1,{at}\n",
        "text_key.csv": f"account_id,event_timestamp\n1,{at}\nA-7,{at}\n",
        "large_key.csv": f"account_id,event_timestamp\n99999999999999999999,{at}\n",
        "pit.csv": f"user_id,event_timestamp,_pit_row\nu1,{at},1\n",
        "book.xlsx": "PK",
    }
    for name, text in texts.items():
        (f / name).write_text(text, encoding="utf-8")
    (f / "latin.csv").write_bytes(f"user_id,event_timestamp,name\nu1,{at},Jos\xe9\n".encode("latin-1"))
    (f / "garbage.csv").write_bytes(bytes(range(256)) * 50)
    (f / "garbage.parquet").write_bytes(bytes(range(256)) * 50)
    (f / "empty.parquet").write_bytes(b"")
    (f / "folder.csv").mkdir()
    many = pa.table({"user_id": [f"u{i}" for i in range(5000)], "event_timestamp": [T] * 5000})
    pq.write_table(many, f / "many.parquet")
    (f / "truncated.parquet").write_bytes((f / "many.parquet").read_bytes()[:-500])
    pq.write_table(
        pa.table([["u1"], [T], [1], [2]], names=["user_id", "event_timestamp", "label", "label"]), f / "twice.parquet"
    )
    pq.write_table(pa.table({"account_id": ["1"], "event_timestamp": [T]}), f / "text_key.parquet")
    pq.write_table(pa.table({"user_id": [1], "event_timestamp": [T]}), f / "number_key.parquet")


@dataclass(frozen=True)
class World:
    files: Path
    shop: Path
    wrong: Path


def make_world(folder: Path) -> World:
    """All files, and the first parse of both projects."""
    files = folder / "files"
    files.mkdir()
    make_spines(files)
    make_small_projects(files)
    world = World(files, make_shop(folder / "shop"), make_wrong(folder / "wrong"))
    wanted = ["build-training-set", "--spine=labels", "--service=churn", "--sql"]
    assert run("--project-dir", str(world.shop), *wanted).status == 0
    assert run("--project-dir", str(world.wrong), "views").status == 2
    return world


def attempt(world: World, case: Case, out: Path) -> Result:
    """Run a case; its outputs would be in `out`, which holds a folder, a pipe and an older file."""
    out.mkdir(exist_ok=True)
    (out / "folder.parquet").mkdir(exist_ok=True)
    if not (out / "pipe.csv").exists():
        os.mkfifo(out / "pipe.csv")
    (out / "set.arrow").write_text("older")
    project = world.shop if case.project == "shop" else world.files / case.project
    fill = [
        text.replace("{f}", str(world.files)).replace("{out}", str(out)) for text in (*case.prefix, *case.arguments)
    ]
    with case.around(world.shop):
        return run("--project-dir", str(project), *fill)


def plain(text: str) -> str:
    """A message on one line, without the frame of click's usage errors."""
    return re.sub(r"\s+", " ", text).strip()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def shop(world: World) -> Path:
    return world.shop


def check(result: Result, status: int, says: tuple[str, ...]) -> None:
    message = plain(result.err)
    assert result.status == status, result
    for pattern in says:
        assert re.search(pattern, message), f"{pattern!r} is not in {message!r}"
    assert "Traceback" not in message
    assert "Error: " in message
    assert result.out == ""


@pytest.mark.parametrize("case", sampled(CASES, 35), ids=lambda case: case.title)
def test_bad_input(world: World, case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = sorted(path.name for path in world.files.iterdir())
    check(attempt(world, case, out), case.status, case.says)
    assert sorted(path.name for path in out.iterdir()) == ["folder.parquet", "pipe.csv", "set.arrow"]
    assert (out / "set.arrow").read_text() == "older"
    assert list((out / "folder.parquet").iterdir()) == []
    assert sorted(path.name for path in world.files.iterdir()) == before


def problems(result: Result) -> list[str]:
    lines = [line.removeprefix("Error: ").strip() for line in result.err.splitlines()]
    return [line for line in lines if "dbt parses" not in line]


@pytest.fixture(scope="module")
def wrong_lines(world: World) -> list[str]:
    result = run("--project-dir", str(world.wrong), "views")
    assert (result.status, result.out) == (2, "")
    assert "Traceback" not in result.err
    return problems(result)


@pytest.mark.parametrize("name", [*WRONG_VIEWS, *WRONG_SERVICES])
def test_wrong_declaration(wrong_lines: list[str], name: str) -> None:
    """All problems of a project are told at once, each with its file, its node and its key."""
    pattern = WRONG_VIEWS[name][1] if name in WRONG_VIEWS else WRONG_SERVICES[name][3]
    about = [line for line in wrong_lines if line.startswith(f"models/models.yml: {name}: ")]
    assert any(re.search(pattern, line) for line in about), about


def test_right_declarations_are_not_reported(wrong_lines: list[str]) -> None:
    assert {line.split(": ")[1] for line in wrong_lines} == {*WRONG_VIEWS, *WRONG_SERVICES}
    assert wrong_lines == sorted(wrong_lines)
    assert [line for line in wrong_lines if line.startswith("models/models.yml: good")] == []
    assert [line for line in wrong_lines if not line.startswith("models/models.yml: ")] == []


def test_every_command_reports_the_same_problems(world: World, wrong_lines: list[str]) -> None:
    command = ("build-training-set", "--spine", "x", "--features", "good:*", "--sql")
    result = run("--project-dir", str(world.wrong), *command)
    assert (result.status, result.out, problems(result)) == (2, "", wrong_lines)


def test_as_a_real_process(world: World, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "pit-join"
    command = [script, "--project-dir", world.shop, "build-training-set", "--spine", "nope.csv", "--features", "a:b"]
    done = subprocess.run([*command, "--output", tmp_path / "x.csv"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: unknown feature view 'a'")


# ---------------------------------------------------------------------------- inputs that look bad and are right


@pytest.mark.parametrize(
    "config",
    [
        {"unique_key": ["user_id", "event_timestamp"]},
        {"unique_key": "login_id"},
        {"unique_key": "user_id, event_timestamp"},
        {"unique_key": "user_id", "incremental_strategy": "append"},
        {"unique_key": "user_id", "incremental_strategy": "microbatch"},
        {"unique_key": "user_id", "materialized": "snapshot"},
        {"unique_key": "user_id", "materialized": "table"},
        {"unique_key": None},
        {},
    ],
)
def test_a_history_that_is_not_overwritten(config: dict[str, object]) -> None:
    keys = ["user_id"]
    assert _overwritten({"materialized": "incremental", **config}, keys, "event_timestamp") is None
    overwritten = {"materialized": "incremental", "unique_key": "user_id"}
    assert _overwritten(overwritten, keys, "event_timestamp") is not None


def build(
    shop: Path,
    spine: Path | str,
    output: Path,
    *arguments: str,
    reference: str = "user_activity:logins",
    said: str = "",
) -> pa.Table:
    result = run(
        "--project-dir", str(shop), "build-training-set", "--spine", str(spine), "--features", reference,
        "--output", str(output), *arguments,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert result.err == said
    if output.suffix == ".parquet":
        return pq.read_table(output)
    return pa.ipc.open_file(output).read_all() if output.suffix == ".arrow" else None


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_spine_of_no_rows(shop: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"spine.{kind}"
    if kind == "csv":
        path.write_text("user_id,event_timestamp,label\n")
    else:
        pq.write_table(
            pa.schema([("user_id", pa.string()), ("event_timestamp", pa.timestamp("us"))]).empty_table(), path
        )
    for ending in ("parquet", "arrow", "csv"):
        table = build(shop, path, tmp_path / f"set.{ending}", "--provenance")
        if table is not None:
            assert table.num_rows == 0
            assert table.schema.field("logins").type == pa.int64()
            assert "user_activity__status" in table.column_names
    assert (tmp_path / "set.csv").read_text().startswith("user_id,event_timestamp,")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_spine_of_many_columns(shop: Path, tmp_path: Path, kind: str) -> None:
    path, columns = tmp_path / f"wide.{kind}", number_of(500, 5000)
    table = pa.table({"user_id": ["u1"], "event_timestamp": [T]} | {f"c{i}": [i] for i in range(columns)})
    if kind == "csv":
        header = ",".join(table.column_names)
        path.write_text(f"{header}\nu1,2026-03-18 14:30:00,{','.join(map(str, range(columns)))}\n")
    else:
        pq.write_table(table, path)
    built = build(shop, path, tmp_path / "set.parquet")
    assert built.column_names == [*table.column_names, "logins"]
    at = T if kind == "parquet" else T.replace(tzinfo=None)
    assert built.to_pylist()[0] == table.to_pylist()[0] | {"logins": 12, "event_timestamp": at}


ODD_NAMES = [
    'it\'s a "spine".csv',
    "smile 😀.csv",
    "two words.csv",
    "_pit_spine.csv",
    "semi;colon--.csv",
    "*.csv",
    "[a].csv",
]


@pytest.mark.parametrize("name", sampled([*ODD_NAMES, "n" * 250 + ".csv"], 3))
def test_odd_file_names(shop: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "decoy.csv").write_text("user_id,event_timestamp\nu9,2026-03-18 14:30:00\n")
    (tmp_path / "a.csv").write_text("user_id,event_timestamp\nu9,2026-03-18 14:30:00\n")
    (tmp_path / "out").mkdir()
    (tmp_path / name).write_text("user_id,event_timestamp\nu1,2026-03-18 14:30:00\n")
    for ending in ("parquet", "csv", "arrow"):
        output = tmp_path / "out" / f"{name.removesuffix('.csv')}"
        output = output.with_name(output.name[: 250 - len(ending)] + f".{ending}")
        table = build(shop, tmp_path / name, output)
        if table is not None:
            assert table.to_pylist() == [
                {"user_id": "u1", "event_timestamp": table["event_timestamp"][0].as_py(), "logins": 12}
            ]
        output.unlink()
    assert list((tmp_path / "out").iterdir()) == []


def test_odd_column_names(shop: Path, tmp_path: Path) -> None:
    table = build(shop, "labels", tmp_path / "set.parquet", reference="order:*")
    assert table.column_names[-len(ODD) :] == list(ODD)
    assert [table[name][0].as_py() for name in ODD] == [10 + i for i in range(len(ODD))]
    table = build(
        shop, "labels", tmp_path / "set.parquet", "--provenance", "--full-feature-names", reference='order:"it\'s"'
    )
    assert table.column_names[-3:] == ["order__it's", "order__event_timestamp", "order__status"]


@pytest.mark.parametrize("name", sampled(["_under", "it's", "émoji😀", LONG[:150], "order"], 2))
def test_odd_view_names(shop: Path, tmp_path: Path, name: str) -> None:
    table = build(
        shop, "labels", tmp_path / "set.parquet", "--provenance", "--full-feature-names", reference=f"{name}:*"
    )
    assert table[f"{name}__status"].to_pylist() == ["PRESENT"]
    table = build(
        shop,
        "labels",
        tmp_path / "set.parquet",
        "--role",
        f'"a, b: (c) = ""d"""={name}',
        reference='"a, b: (c) = ""d""":*',
    )
    assert all(column.startswith('a, b: (c) = "d"__') for column in table.column_names[3:])


def test_odd_key_names(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "spine.csv").write_text('group,"the ""key"" 😀",event_timestamp\ng,7,2026-03-18 14:30:00\n')
    assert build(shop, tmp_path / "spine.csv", tmp_path / "a.parquet", reference="odd_keys:*")["value"].to_pylist() == [
        5
    ]
    (tmp_path / "spine.csv").write_text('"select, ""x""",k=1,event_timestamp\ng,7,2026-03-18 14:30:00\n')
    role = 'odd_keys(group="select, ""x""","the ""key"" 😀"="k=1")'
    table = build(shop, tmp_path / "spine.csv", tmp_path / "a.parquet", "--role", role, reference="odd_keys:*")
    assert table["value"].to_pylist() == [5]


def test_spine_columns_named_like_parts_of_the_sql(shop: Path, tmp_path: Path) -> None:
    names = [
        "rowid",
        "spine",
        "history",
        "source",
        "known",
        "chosen",
        "matched",
        "select",
        "Result",
        "entity_df",
        "epoch_us",
    ]
    table = pa.table({"user_id": ["u1"], "event_timestamp": [T]} | {name: [i] for i, name in enumerate(names)})
    pq.write_table(table, tmp_path / "spine.parquet")
    for ending in ("parquet", "arrow"):
        built = build(shop, tmp_path / "spine.parquet", tmp_path / f"set.{ending}", "--provenance")
        assert built.select(table.column_names).to_pylist() == table.to_pylist()
        assert built["logins"].to_pylist() == [12]
    build(shop, tmp_path / "spine.parquet", tmp_path / "set.csv")


def test_a_view_that_is_an_sql_view_after_all(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "spine.csv").write_text("user_id,event_timestamp\nu1,2126-03-18 14:30:00\nu1,2026-03-18 14:30:00\n")
    assert build(shop, tmp_path / "spine.csv", tmp_path / "a.parquet", reference="is_a_view:*")[
        "value"
    ].to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (b"\xef\xbb\xbfuser_id,event_timestamp,label\r\nu1,2026-03-18 14:30:00,1\r\n", 1),
        (b"user_id;event_timestamp;label\nu1;2026-03-18 14:30:00;1\n", 1),
        (b"user_id\tevent_timestamp\tlabel\nu1\t2026-03-18T14:30:00Z\t1", 1),
        (b'user_id,event_timestamp,label\n"u1","2026-03-18 16:30:00+02:00","a, ""b""\n c"\n', 'a, "b"\n c'),
        (b"USER_ID,Event_Timestamp,label\nu1,2026-03-18 14:30:00,1\n", 1),
        (b"user_id,event_timestamp,label\nu1,2026-03-18,1\n", 1),
        (b"user_id,event_timestamp,label\nu1,2026-03-18,'a'\n", "'a'"),
        (b"user_id,event_timestamp,label\nu1,2026-03-18,a|b;c\n", "a|b;c"),
        (b'user_id,event_timestamp,label\nu1,2026-03-18,"a\\"\n', "a\\"),
    ],
    ids=["byte order mark", "semicolons", "tabs", "quotes", "capitals", "dates", "apostrophes", "bars", "backslash"],
)
def test_csv_of_other_dialects(shop: Path, tmp_path: Path, content: bytes, label: object) -> None:
    (tmp_path / "spine.csv").write_bytes(content)
    sign = next(chr(byte) for byte in content.removeprefix(b"\xef\xbb\xbf") if chr(byte) in ",;\t")
    said = "" if sign == "," else f"the delimiter of the spine {tmp_path / 'spine.csv'} is {sign!r}\n"
    table = build(shop, tmp_path / "spine.csv", tmp_path / "set.parquet", said=said)
    assert table["logins"].to_pylist() == [12]
    assert table["label"].to_pylist() == [label]


def test_a_folder_named_like_a_partition(shop: Path, tmp_path: Path) -> None:
    """A spine's columns are those in the file, wherever it lies."""
    folder = tmp_path / "year=2026"
    folder.mkdir()
    (folder / "spine.csv").write_text("user_id,event_timestamp,label\nu1,2026-03-18 14:30:00,1\n")
    pq.write_table(SPINE, folder / "spine.parquet")
    built = build(shop, folder / "spine.csv", tmp_path / "set.parquet")
    assert built.column_names == ["user_id", "event_timestamp", "label", "logins"]
    built = build(shop, folder / "spine.parquet", tmp_path / "set.parquet")
    assert built.column_names == ["user_id", "event_timestamp", "logins"]


def test_csv_without_any_time(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "spine.csv").write_text("user_id,event_timestamp,label\nu1,,1\n,,2\n")
    built = build(shop, tmp_path / "spine.csv", tmp_path / "set.parquet", "--provenance")
    assert built["user_activity__status"].to_pylist() == ["NULL_KEY", "NULL_KEY"]


def test_keys_as_floating_point(shop: Path) -> None:
    """Pandas makes floating point of whole numbers with nulls; beyond 2**53 such a key is another key's neighbour."""
    frame = pd.DataFrame({"account_id": [1, None, 1.5], "event_timestamp": [T] * 3})
    table = FeatureStore(shop).get_historical_features(frame, ["account:*"], provenance=True).to_arrow()
    assert table["account__status"].to_pylist() == ["PRESENT", "NULL_KEY", "NOT_FOUND"]
    large = pa.table({"account_id": [9007199254740992.0], "event_timestamp": [T]})
    with contextlib.suppress(PitJoinError):
        table = FeatureStore(shop).get_historical_features(large, ["account:*"]).to_arrow()
        assert table["amount"].to_pylist() == [None]


def test_filtered_data_frame(shop: Path) -> None:
    """The index that pandas leaves behind is no column of the spine."""
    frame = pd.DataFrame({"user_id": ["u9", "u1", "u1"], "event_timestamp": [T] * 3})
    frame = frame[frame["user_id"] == "u1"]
    table = FeatureStore(shop).get_historical_features(frame, ["user_activity:logins"]).to_arrow()
    assert table.column_names == ["user_id", "event_timestamp", "logins"]
    assert table["logins"].to_pylist() == [12, 12]


def test_infinite_and_missing_times(shop: Path, tmp_path: Path) -> None:
    duckdb.sql(
        "select 'u1' as user_id, unnest([null, 'infinity', '-infinity', '2026-03-18 14:30:00'])::timestamptz "
        "as event_timestamp"
    ).write_parquet(str(tmp_path / "spine.parquet"))
    result = run(
        "--project-dir", str(shop), "build-training-set", "--spine", str(tmp_path / "spine.parquet"), *FEATURES,
        "--provenance", "--output", str(tmp_path / "set.parquet"),
    )  # fmt: skip
    assert result.status == 0, result.err
    table = pq.read_table(tmp_path / "set.parquet")
    assert table["user_activity__status"].to_pylist() == ["NULL_KEY", "NULL_KEY", "NULL_KEY", "PRESENT"]
    assert table["logins"].to_pylist() == [0, 0, 0, 12]


def test_waits_for_the_warehouse(
    shop: Path, tmp_path: Path, at_first_pause: Callable[[Callable[[], object]], None]
) -> None:
    with held(shop) as holder:
        at_first_pause(lambda: (holder.kill(), holder.wait()))
        result = run("--project-dir", str(shop), "build-training-set", "--spine", "labels", *FEATURES, "--output",
                     str(tmp_path / "set.parquet"))  # fmt: skip
    assert result.status == 0
    assert re.fullmatch(r"another process holds .*warehouse.duckdb; waiting up to 60 s\n", result.err)
    assert pq.read_table(tmp_path / "set.parquet")["logins"].to_pylist() == [12]


def test_sql_needs_no_output_and_writes_none(shop: Path, tmp_path: Path) -> None:
    arguments = ("build-training-set", "--spine", "labels", *FEATURES, "--sql")
    result = run("--project-dir", str(shop), *arguments, cwd=tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "asof left join" in result.out
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- in Python


@pytest.mark.parametrize(
    ("entity_df", "references", "more", "says"),
    [
        (123, ["user_activity:*"], {}, "a spine is the name .* got int"),
        (None, ["user_activity:*"], {}, "a spine is the name .* got NoneType"),
        ([{"user_id": "u1"}], ["user_activity:*"], {}, "a spine is .* got list"),
        (pa.table([["u1"], [T], [1], [2]], ["user_id", "event_timestamp", "x", "x"]), ["user_activity:*"], {},
            "column 'x' twice"),
        (pa.table({"user_id": ["u1"]}), ["user_activity:*"], {}, "no column 'event_timestamp'"),
        (pd.DataFrame([["u1", T, 1, 2]], columns=["user_id", "event_timestamp", "x", "x"]), ["user_activity:*"], {},
            "x"),
        (SPINE.append_column("USER_ID", pa.array(["u2"])), ["user_activity:*"], {}, "both 'user_id' and 'USER_ID'"),
        (pd.DataFrame({"user_id": ["u1", 7], "event_timestamp": [T] * 2}), ["user_activity:*"], {},
            r"cannot hold .*: 'user_id' \(object: Expected bytes, got a 'int' object\); convert them"),
        (SPINE.set_column(0, "user_id", pa.array([1])), ["user_activity:*"], {}, "'user_id' .* is BIGINT"),
        (SPINE.append_column("x", pa.nulls(1)), ["user_activity:*"], {}, None),
        (SPINE, [], {}, "no features are asked for"),
        (SPINE, "nope", {}, "unknown feature service 'nope'; .*churn"),
        (SPINE, "user_activity:logins", {}, None),
        (SPINE, [{"view": "user_activity"}], {}, "needs 'features'"),
        (SPINE, [{"features": ["*"]}], {}, "a role needs 'view'"),
        (SPINE, [{"view": "user_activity", "features": "*"}], {}, "needs 'features', a list"),
        (SPINE, [7], {}, "cannot read the reference '7'"),
        (SPINE, ["user_activity:*"], {"gap": "soon"}, "cannot read the duration 'soon'"),
        (SPINE, ["user_activity:*"], {"event_timestamp": "at"}, "no column 'at'"),
        (SPINE, ["user_activity:*"], {"roles": ["other=user_mood"]}, "no feature of the view 'other'"),
    ],
)  # fmt: skip
def test_bad_input_in_python(
    shop: Path, entity_df: Any, references: Any, more: dict[str, Any], says: str | None
) -> None:
    store = FeatureStore(shop)
    if says is None:
        assert store.get_historical_features(entity_df, references, **more).to_arrow().num_rows == 1
        return
    with pytest.raises(PitJoinError, match=says):
        store.get_historical_features(entity_df, references, **more)


def table() -> Iterator[tuple[str, int, str]]:
    """Every bad input with the exit status and the message that it gives now."""
    with tempfile.TemporaryDirectory() as name:
        world = make_world(Path(name))
        for number, case in enumerate(CASES):
            try:
                result = attempt(world, case, Path(name) / f"out{number}")
            except Exception as error:
                result = Result(1, "", f"Traceback: {error!r}")
            message = plain(re.sub(r"(?s)^Usage: .*?\nError: ", "", result.err)).removeprefix("Error: ")
            yield case.title, result.status, message.replace(name + "/", "").replace(f"out{number}/", "")
        result = run("--project-dir", str(world.wrong), "views")
        for line in result.err.splitlines():
            _, node, message = line.removeprefix("Error: ").strip().split(": ", 2)
            yield f"`{node}` in models.yml", result.status, message


if __name__ == "__main__":
    click.echo("| input | exit | message |\n| --- | --- | --- |")
    for title, status, message in table():
        shown = message.replace("|", "\\|").replace(LONG[:150], "xxx")
        click.echo(f"| {title} | {status} | {shown if len(shown) < 400 else shown[:400] + ' ...'} |")
