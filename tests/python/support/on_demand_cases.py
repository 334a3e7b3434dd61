"""Generated on-demand features, and a project and a store that compute them."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from online_cases import Exporter

from pit_join.definitions.field_type import read_type
from pit_join.definitions.registry import Registry
from pit_join.training.build import TrainingBuild
from pit_join.training.request import TrainingRequest
from support.rule_sql import macro_nodes

AT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
UTC = timezone.utc


@dataclass(frozen=True)
class Source:
    """A column of the history, or a field of requests: its type in SQL and in Arrow, and its values."""

    name: str
    sql: str
    arrow: pa.DataType
    values: st.SearchStrategy[Any]


DOUBLES = st.floats() | st.sampled_from([0.0, -0.0, 1.5, -3.0, 1e300, 5e-324, math.nan])
TEXTS = st.text(alphabet="aB é日\0'\"", max_size=4)
DAYS = st.dates(date(1900, 1, 1), date(2200, 1, 1))


# Around the hours at which clocks change, and far from them.
MOMENTS = st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1)) | st.sampled_from(
    [datetime(2026, 3, 8, 6, 59, 59, 999999), datetime(2026, 3, 8, 7), datetime(2026, 11, 1, 5, 30)]
)


ZONED = st.builds(
    lambda moment, hours: moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours))),
    MOMENTS,
    st.sampled_from([0, 0, -5, 9, 5.5]),
)


DECIMALS = st.decimals(-10_000, 10_000, places=3, allow_nan=False, allow_infinity=False)
STORED = [
    Source("f_small", "tinyint", pa.int8(), st.integers(-128, 127)),
    Source("f_int", "bigint", pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9)),
    Source("f_unsigned", "ubigint", pa.uint64(), st.integers(0, 2**64 - 1) | st.integers(0, 9)),
    Source("f_single", "float", pa.float32(), st.floats(width=32)),
    Source("f_double", "double", pa.float64(), DOUBLES),
    Source("f_decimal", "decimal(12, 3)", pa.decimal128(12, 3), DECIMALS),
    Source("f_text", "varchar", pa.string(), TEXTS),
    Source("f_flag", "boolean", pa.bool_(), st.booleans()),
    Source("f_day", "date", pa.date32(), DAYS),
    Source("f_naive", "timestamp", pa.timestamp("us"), MOMENTS),
    Source("f_moment", "timestamptz", pa.timestamp("us", "UTC"), ZONED),
    Source("f_vector", "float[]", pa.list_(pa.float32()), st.lists(st.floats(-9, 9, width=32), max_size=2)),
    Source("f_blob", "blob", pa.binary(), st.binary(max_size=3)),
]


FIELDS = [
    Source("r_int", "bigint", pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9)),
    Source("r_double", "double", pa.float64(), DOUBLES),
    Source("r_decimal", "decimal(12, 3)", pa.decimal128(12, 3), DECIMALS),
    Source("r_text", "varchar", pa.string(), TEXTS),
    Source("r_flag", "boolean", pa.bool_(), st.booleans()),
    Source("r_day", "date", pa.date32(), DAYS),
    Source("r_moment", "timestamptz", pa.timestamp("us", "UTC"), ZONED),
]


BY_NAME = {source.name: source for source in (*STORED, *FIELDS)}
NUMBERS = [source.name for source in BY_NAME.values() if read_type(source.sql).number]
TEXT = ["f_text", "r_text"]
MOMENT = ["f_naive", "f_moment", "r_moment"]


# {0} and so on are parts that have been made; what may overflow, or have no value, may also fail.
NUMBER_FORMS = [
    "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / nullif({1}, 0)", "-{0}", "abs({0})", "round({0}, 1)", "floor({0})",
    "sqrt(abs({0}))", "ln(abs({0}) + 1)", "power(abs({0}), 0.5)", "sin({0})", "atan2({0}, {1})", "greatest({0}, {1})",
    "least({0}, {1})", "coalesce({0}, {1})", "cast({0} as double)", "cast({0} as float)", "{0} % nullif({1}, 0)",
    "case when {0} > {1} then {0} else {1} end",
    "2 * asin(sqrt(power(sin(radians({0}) / 2), 2) + cos(radians({1})) * power(sin(radians({0}) / 2), 2)))",
]  # fmt: skip


FLAG_FORMS = ["{0} > {1}", "{0} = {1}", "{0} is null", "{0} is distinct from {1}", "isnan(cast({0} as double))"]
TEXT_FORMS = ["upper({0})", "lower({0})", "{0} || '-'", "coalesce({0}, 'none')", "substr({0}, 2)", "reverse({0})"]
OF_MOMENT = ["hour({0})", "date_part('dow', {0})", "epoch({0})", "date_diff('day', {0}, timestamptz '2026-03-08')"]
NEW_YORK = "hour(timezone('America/New_York', cast({0} as timestamptz)))"


@st.composite
def numbers(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.integers(0, 9)) if depth else 0
    if kind < 2:
        return draw(st.sampled_from([*(f"<{name}>" for name in NUMBERS), "7", "0.25", "1e3"]))
    if kind == 2:
        return draw(st.sampled_from([*OF_MOMENT, NEW_YORK])).format(f"<{draw(st.sampled_from(MOMENT))}>")
    if kind == 3:
        of_text = draw(st.sampled_from(["length({0})", "strlen({0})", "ascii({0})"]))
        return of_text.format(f"<{draw(st.sampled_from(TEXT))}>")
    if kind == 4:
        return draw(st.sampled_from(["<f_vector>[1]", "list_sum(<f_vector>)", "octet_length(<f_blob>)"]))
    parts = [draw(numbers(depth - 1)) for _ in range(2)]
    return "(" + draw(st.sampled_from(NUMBER_FORMS)).format(*parts) + ")"


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, str]:
    """An expression in which `<name>` is an argument, and the type of its result."""
    kind = draw(st.integers(0, 9))
    if kind < 5:
        types = ["double", "double", "float", "bigint", "decimal(18, 4)", "hugeint"]
        return draw(numbers()), draw(st.sampled_from(types))
    if kind < 7:
        parts = [draw(numbers(1)) for _ in range(2)]
        both = st.sampled_from([*FLAG_FORMS, "<f_flag> and {0} < {1}", "<r_flag> or {0} < {1}", "<f_day> < <r_day>"])
        return draw(both).format(*parts), "boolean"
    if kind == 7:
        text = draw(st.sampled_from(TEXT_FORMS)).format(f"<{draw(st.sampled_from(TEXT))}>")
        return text, "varchar"
    if kind == 8:
        moment = f"<{draw(st.sampled_from(MOMENT))}>"
        form = draw(st.sampled_from(["date_trunc('hour', {0})", "{0} + interval 1 day", "cast({0} as timestamptz)"]))
        return form.format(moment), draw(st.sampled_from(["timestamptz", "timestamp", "date", "timestamp_ns"]))
    return draw(st.sampled_from([("<f_vector>", "double[]"), ("<f_blob>", "blob"), ("<r_day>", "date")]))


@dataclass(frozen=True)
class Case:
    """On-demand features by name, the rows of the history by key, and rows that are asked for."""

    features: Mapping[str, tuple[str, str]]
    history: list[dict[str, Any]]
    rows: list[dict[str, Any]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    features = {f"o{i}": draw(expressions()) for i in range(draw(st.integers(1, 3)))}
    null = st.integers(0, 5)

    def row(sources: list[Source]) -> dict[str, Any]:
        return {source.name: None if draw(null) == 0 else draw(source.values) for source in sources}

    history = [{"id": i, **row(STORED)} for i in range(3)]
    keys = [0, 1, 2, 9, None]
    rows = [{"id": key, **row(FIELDS)} for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=6))]
    return Case(features, history, rows)


def used(expression: str) -> list[str]:
    return [name for name in BY_NAME if f"<{name}>" in expression]


def macro(name: str, sql: str, types: Mapping[str, str], **meta: Any) -> dict[str, Any]:
    return {
        "package_name": "pit_join",
        "name": name,
        "macro_sql": f"{{% macro {name}({', '.join(types)}) %}}{sql}{{% endmacro %}}",
        "arguments": [{"name": argument, "type": kind} for argument, kind in types.items()],
        "config": {"meta": {"pit_join": meta}},
        "original_file_path": "macros/generated.sql",
    }


def manifest_of(macros: Mapping[str, dict[str, Any]], features: list[Any], **service: Any) -> dict[str, Any]:
    """A project with the view `facts` (key `id`), on-demand features, and the service `s`."""
    columns = {"id": "bigint", "event_timestamp": "timestamptz"} | {source.name: source.sql for source in STORED}
    defaults: dict[str, Any] = {"f_small": {"default": -1}}
    node = {
        "resource_type": "model",
        "package_name": "pit_join",
        "name": "facts",
        "relation_name": 'memory.main."facts"',
        "database": "memory", "schema": "main", "alias": "facts",
        "original_file_path": "models/facts.yml",
        "columns": {
            name: {"name": name, "data_type": kind, "config": {"meta": {"pit_join": defaults.get(name, {})}}}
            for name, kind in columns.items()
        },
        "config": {
            "materialized": "table",
            "event_time": "event_timestamp",
            "meta": {"pit_join": {"entity": "thing", "join_keys": ["id"], "ttl": "10 days"}},
        },
    }  # fmt: skip
    exposure = {
        "name": "s",
        "type": "ml",
        "original_file_path": "models/s.yml",
        "depends_on": {"nodes": ["model.pit_join.facts"]},
        "config": {"meta": {"pit_join": {"features": features, **service}}},
    }
    return {
        "metadata": {"project_name": "pit_join", "adapter_type": "duckdb"},
        "macros": macro_nodes() | {f"macro.pit_join.{name}": each for name, each in macros.items()},
        "nodes": {"model.pit_join.facts": node},
        "sources": {},
        "exposures": {"exposure.pit_join.s": exposure},
    }


def project_of(case: Case) -> dict[str, Any]:
    macros, asked = {}, ["facts:f_small"]
    for name, (expression, returns) in case.features.items():
        arguments = used(expression)
        for argument in arguments:
            expression = expression.replace(f"<{argument}>", f"{{{{ {argument} }}}}")
        # Every macro has an argument, and each of the columns is asked for by another name than its own.
        types = {argument: BY_NAME[argument].sql for argument in arguments} or {"f_int": "bigint"}
        macros[name] = macro(name, expression, types, returns=returns)
        sources = {argument: f"facts:{argument}" if argument in STORED_NAMES else argument for argument in types}
        asked.append({"on_demand": name, "arguments": sources})
    return manifest_of(macros, [*asked[1:], asked[0]])


STORED_NAMES = {source.name for source in STORED}


class Both(Exporter):
    """Exports, and builds training sets of the same tables."""

    def load(self, history: list[dict[str, Any]], event: datetime = AT) -> None:
        columns = {s.name: pa.array([row[s.name] for row in history], s.arrow) for s in STORED}
        keys = pa.array([row["id"] for row in history], pa.int64())
        times = pa.array([event] * len(history), pa.timestamp("us", "UTC"))
        self.connection.register("given", pa.table({"id": keys, "event_timestamp": times, **columns}))
        self.connection.execute("create or replace table facts as from given")
        self.connection.unregister("given")

    def training(self, manifest: Mapping[str, Any], spine: pa.Table, service: str = "s", **options: Any) -> pa.Table:
        requests = Registry.from_manifest(manifest).services[service].requests
        return TrainingBuild(self.workspace(manifest), TrainingRequest(spine, requests, **options)).run().to_arrow()

    def whole_query(self, manifest: Mapping[str, Any], spine: pa.Table) -> pa.Table:
        """The training set as dbt would build it, in one statement."""
        requests = Registry.from_manifest(manifest).services["s"].requests
        sql = TrainingBuild(self.workspace(manifest), TrainingRequest(spine, requests)).sql()
        self.connection.register("entity_df", spine)
        return self.connection.sql(sql).to_arrow_table()


def bits(value: Any) -> Any:
    """A value with its type, so that equal ones are equal bit by bit."""
    if isinstance(value, float):
        return "float", "nan" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, list):
        return "list", tuple(map(bits, value))
    if isinstance(value, Decimal):
        return "decimal", value.as_tuple()
    if isinstance(value, np.datetime64):
        return "datetime64", np.datetime_data(value.dtype)[0], int(value.astype(np.int64))
    return type(value).__name__, value, getattr(value, "tzinfo", None) and str(value.utcoffset())
