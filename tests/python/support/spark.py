"""Spark in this process for the tests, and generated cases (`generate.py`) as it can hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from generate import Case, Column, Table, same_again
from pyspark.sql import DataFrame, SparkSession

from pit_join.project.rendering import Renderer
from support.engines import renderer_for, value_of

TYPES = {
    "varchar": "string",
    "integer": "int",
    "hugeint": "decimal(38,0)",
    "ubigint": "decimal(20,0)",
    "double[]": "array<double>",
    "timestamptz": "timestamp",
    "timestamp": "timestamp_ntz",
    "timestamp_ms": "timestamp_ntz",
    "timestamp_s": "timestamp_ntz",
}
"""The types of generated cases that Spark names otherwise or does not have, and those that hold their values."""

SHARED = {
    "varchar": "text",
    "double": "double precision",
    "double[]": "double precision[]",
    "float": "float4",
    "bigint": "int8",
    "boolean": "bool",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
}
"""Names that DuckDB and PostgreSQL share: the YAML of a case has them on Spark, too, where its tables have Spark's."""

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # Of a few rows each, queries take as long as their plans: no exchange of many parts, and no second plan on the way.
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    # The process ends before the better compiler of Java has paid.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
# Spark's own compiler takes longer than the queries that it compiles.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}

_ARROW_TYPES = {
    "varchar": pa.string(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "hugeint": pa.decimal128(38, 0),
    "ubigint": pa.decimal128(20, 0),
    "float": pa.float32(),
    "double": pa.float64(),
    "double[]": pa.list_(pa.float64()),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamp": pa.timestamp("us"),
    "timestamp_ms": pa.timestamp("us"),
    "timestamp_s": pa.timestamp("us"),
}


@contextmanager
def running_spark(folder: Path, **settings: str) -> Iterator[SparkSession]:
    """A session of Spark in this process; all that it writes lies in the folder."""
    builder = SparkSession.builder.master("local[2]").config("spark.sql.warehouse.dir", str(folder / "warehouse"))
    for name, value in (SETTINGS | {"spark.local.dir": str(folder / "local")} | settings).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        session.stop()


def quote(name: str) -> str:
    """A name as an identifier of Spark."""
    return "`" + name.replace("`", "``") + "`"


def stored_as(name: str) -> str:
    """The name of a view's table, which is not that of a common table expression, as a name with a schema is not."""
    return f"{name} in the schema"


def type_of(sql_type: str) -> str:
    """The type in which Spark holds the values of a type of the generated cases."""
    return TYPES.get(sql_type, sql_type)


def load(session: SparkSession, case: Case) -> None:
    """Make the tables of a case, temporary views that replace those of the same names."""
    session.conf.set("spark.sql.session.timeZone", case.settings["TimeZone"])
    tables = {case.spine.name: case.spine} | {stored_as(name): table for name, table in case.histories.items()}
    for name, table in tables.items():
        frame_of(session, table).createOrReplaceTempView(quote(name))


def frame_of(session: SparkSession, table: Table) -> DataFrame:
    """A table as a frame of exactly its types."""
    values = [pa.array([row[each.name] for row in table.rows], _arrow_type(each.sql_type)) for each in table.columns]
    schema = ", ".join(f"{quote(each.name)} {type_of(each.sql_type)}" for each in table.columns)
    return session.createDataFrame(pa.table(values, [each.name for each in table.columns]), schema)


def _arrow_type(sql_type: str) -> pa.DataType:
    found = re.fullmatch(r"decimal\((\d+),(\d+)\)", sql_type)
    return pa.decimal128(*map(int, found.groups())) if found else _ARROW_TYPES[sql_type]


def fetch(session: SparkSession, query: str, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The rows of a query as comparable values. It has these columns and no others, in this order."""
    found = session.sql(query)
    assert found.columns == [each.name for each in columns]
    values = [column.to_pylist() for column in found.toArrow().columns]
    return [
        {each.name: value_of(value, each) for each, value in zip(columns, row, strict=True)}
        for row in zip(*values, strict=True)
    ]


@same_again
def renderer(manifest: Mapping[str, Any]) -> Renderer:
    """A renderer for Spark of the manifest of a case."""
    return renderer_for(
        "spark", manifest, lambda name: quote(stored_as(name)), lambda name: SHARED.get(name, type_of(name))
    )
