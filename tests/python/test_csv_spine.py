"""CSV files as spines: every record comes back as it was written, or the error names its line."""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from support.runs import first_seed, number_of

from pit_join.definitions.connection import Connection
from pit_join.definitions.field_type import FieldType, read_type
from pit_join.errors import SpineError
from pit_join.training.spine import SpineRows, find_spine
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

UTC = timezone.utc
HEADER = ("id", "at", "label", "note")
KEYS = {"id": read_type("varchar")}
WORDS = [
    "a", "1", "#x", " ", '"', "'", ",", ";", "\t", "|", "\n", "\r\n", "\r", "é", "NULL", "NA", "\\", "0", "日本", "a b",
    "007", "+1", "1,50", "12.50", "2E10", "0x1F", "yes", "F", "True", "1e-05", "1e999", "-0", "nan", "inf", "12:30",
    "2026-02-30", "2026-03-01", "2026-03-01 10:00:00.123456789", "2026-03-01T10:00:00+02", "9007199254740993",
    "123456789012345678901", "0.1234567890123456789", "0.30000000000000004", '""', "''", "--", "//", "%",
]  # fmt: skip
TIMES = ["2026-03-01", "2026-03-01 10:00", "2026-03-01T10:00:00.5", ""]


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckDBWarehouse]:
    with DuckDBWarehouse(Connection("dev", tmp_path, {})) as opened:
        yield opened


def spine_of(path: Path, warehouse: DuckDBWarehouse, keys: Mapping[str, FieldType] = KEYS) -> SpineRows:
    return find_spine(path, {"metadata": {"project_name": "shop"}, "nodes": {}}, path.parent).rows(
        warehouse, keys, "at"
    )


def written(draw: random.Random, delimiter: str) -> str:
    """A file of one dialect, whose faults are few."""
    newline = draw.choice(["\n", "\n", "\r\n", "\r"])
    lines = [delimiter.join(HEADER)]
    for _ in range(draw.choice([0, 1, 3, 40])):
        if draw.random() < 0.03:
            lines.append("")
            continue
        words = ["".join(draw.choices(WORDS, k=draw.choice([0, 1, 1, 1, 2]))) for _ in HEADER]
        words[1] = draw.choice(TIMES)
        if draw.random() < 0.01:
            words = draw.choice([words[:1], words[:3], [*words, "x"]])
        fields = []
        for word in words:
            must_quote = any(sign in word for sign in (delimiter, '"', "\n", "\r"))
            quote = draw.random() < 0.3 or (must_quote and draw.random() < 0.999)
            fields.append('"' + word.replace('"', '""') + '"' if quote else word)
        lines.append(delimiter.join(fields))
    return newline.join(lines) + draw.choice(["", newline, newline * 2])


def expected(text: str, delimiter: str) -> list[list[str]] | None:
    """The rows as Python's csv module has them; None for a file with a fault."""
    try:
        records = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error:
        return None
    return None if any(len(row) != len(HEADER) for row in records) else records[1:]


def tried(path: Path, warehouse: DuckDBWarehouse) -> tuple[str, SpineRows | None]:
    try:
        return "", spine_of(path, warehouse)
    except SpineError as error:
        return str(error), None


def sql_problem(spine: SpineRows, path: Path, warehouse: DuckDBWarehouse) -> str:
    try:
        spine.csv.check_sql(warehouse, f"'{path}'")
    except SpineError as error:
        warehouse.execute("rollback; begin", "no")
        return str(error)
    return ""


@pytest.mark.parametrize("part", range(4))
def test_generated_files(warehouse: DuckDBWarehouse, tmp_path: Path, part: int) -> None:
    draw, refused, unlike_duckdb = random.Random(f"{first_seed()} {part}"), 0, 0
    for number in range(number_of(25, 250)):
        delimiter = draw.choice(",;\t|")
        text, encoding = written(draw, delimiter), draw.choice(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1"])
        content = text.encode(encoding, errors="replace")
        text = content.decode(encoding)
        path = tmp_path / f"{number}.csv"
        path.write_bytes(gzip.compress(content) if draw.random() < 0.1 else content)
        rows = expected(text, delimiter) if encoding.startswith("utf-8") or text.isascii() else None
        problem, spine = tried(path, warehouse)
        if problem:
            assert encoding == "utf-16" or rows is None, (text, problem)
            assert re.search(r": line [0-9]+( |:)|: it is UTF-16; save the file as UTF-8$", problem), problem
            refused += 1
            continue
        assert rows is not None, text
        assert [[value or "" for value in row.values()] for row in spine.csv.texts.to_pylist()] == rows, text
        table = warehouse.table(f"from {spine.relation}", "no")
        assert table.num_rows == len(rows)
        for column, values in zip(table.columns, zip(*rows, strict=True), strict=False):
            assert [value is None for value in column.to_pylist()] == [value == "" for value in values]
            if pa.types.is_string(column.type):
                assert [value or "" for value in column.to_pylist()] == list(values)
        if unlike := sql_problem(spine, path, warehouse):
            assert "DuckDB's own reader makes other rows of it" in unlike
            unlike_duckdb += 1
        else:
            assert warehouse.table(f"from {spine.sql.replace(path.name, str(path))}", "no").equals(table)
    assert refused < number_of(25, 250) * 0.7
    assert unlike_duckdb < number_of(25, 250) * 0.3


AT = datetime(2026, 3, 1, 10, 30)
TYPED: list[tuple[str, list[object]]] = [
    ("0 -7 123456789012345678", [0, -7, 123456789012345678]),
    ("12.50 1 -0.5 1e-05 1.5e+300 1e-7", [12.5, 1.0, -0.5, 1e-05, 1.5e300, 1e-7]),
    ("0.123456789012345 123456789.012345", [0.123456789012345, 123456789.012345]),
    ("0.30000000000000004 0.8444218515250481", [0.1 + 0.2, 0.8444218515250481]),
    ("1.2345678901234567e-12 12345678901.23457", [1.2345678901234567e-12, 12345678901.23457]),
    ("True false TRUE", [True, False, True]),
    ("2026-03-01 2024-02-29", [date(2026, 3, 1), date(2024, 2, 29)]),
    ("2026-03-01T10:30 2026-03-01", [AT, datetime(2026, 3, 1)]),
    ("2026-03-01T12:30:00+02:00 2026-03-01T10:30:00Z 2026-03-01T05:30:00-0500", [AT.replace(tzinfo=UTC)] * 3),
]  # fmt: skip
TEXTS = [
    "1 1.5 2E10", "12e456", "1e400 1", "1e-400 1", "0x1F", "007 1", "yes no", "T F", "t f", "1,50", "+1", ".5", "5.",
    "1_000", "1e5", "nan 1", "inf 1", "1 NA", "1234567890123456789", "12345678901234567000 1.5",
    "0.1234567890123456789", "1234567890123456.7", "0.1000000000000000055", "2026-02-30 2026-03-01", "2026-3-1",
    "03/01/2026", "2026-03-01T25:00", "2026-03-01T10:30:00+02 2026-03-01", "2026-03-01T10:30:00.123456789Z", "9:30",
    "2026-03-01T10:30Z", "10:30:00", "true 1", "#1", "-",
]  # fmt: skip


def column_of(values: list[str], warehouse: DuckDBWarehouse, path: Path) -> list[object]:
    """A column that is neither key nor declared, between two nulls."""
    path.write_text(
        "".join(f'u1,2026-03-01,"{value}"\n' for value in ["value", "", *values, ""]).replace(
            "u1,2026-03-01", "id,at", 1
        )
    )
    table = warehouse.table(f"from {spine_of(path, warehouse).relation}", "no")
    found: list[object] = table["value"].to_pylist()
    assert (found[0], found[-1]) == (None, None)
    return found[1:-1]


@pytest.mark.parametrize(("text", "values"), TYPED, ids=[text for text, _ in TYPED])
def test_what_is_written_plainly_has_a_type(
    text: str, values: list[object], warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    found = column_of(text.split(" "), warehouse, tmp_path / "spine.csv")
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("text", TEXTS)
def test_all_else_is_text(text: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    assert column_of(text.split(" "), warehouse, tmp_path / "spine.csv") == text.split(" ")


def test_one_odd_value_far_down_makes_a_column_text(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    for plain, odd in [
        ("1", "007"),
        ("1.5", "1,5"),
        ("true", "T"),
        ("2026-03-01", "2026-02-30"),
        ("0.25", "0.1234567890123456789"),
    ]:
        values = [plain] * 5000 + [odd]
        assert column_of(values, warehouse, tmp_path / "spine.csv") == values


def test_nanoseconds_are_kept(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text("id,at,seen\n1,2026-03-01 10:30:00.000000999,2026-03-01 10:30:00.123456789\n")
    columns = warehouse.columns(f"from {spine_of(path, warehouse).relation}", "no")
    assert {name: kind.name for name, kind in columns.items()} == {
        "id": "VARCHAR", "at": "TIMESTAMP_NS", "seen": "TIMESTAMP_NS",
    }  # fmt: skip


BAD_KEYS = {
    "integer": ["1.5", "1e3", "a", "0x1F", "1,000", "99999999999"],
    "bigint": ["9223372036854775808", "1.000001"],
    "decimal(9, 2)": ["1.005", "1e2", "12345678.00", "."],
    "date": ["2026-03-01 10:00", "03/01/2026", "2026-02-30"],
    "timestamp": ["2026-03-01T10:00:00+02:00", "infinity", "10:00"],
    "timestamptz": ["2026-03-01 10:00 Europe/Berlin", "yesterday", "2026-03-01 10:00:00+99:99"],
    "boolean": ["2", "nope"],
    "uuid": ["6ba7b810"],
}
GOOD_KEYS = {
    "integer": [("007", 7), ("1.0", 1), (" 7", 7), ("+5", 5), ("-3", -3)],
    "varchar": [("007", "007"), ("1.0", "1.0"), (" 7", " 7"), ("#1", "#1"), ("NULL", "NULL")],
    "decimal(9, 2)": [
        ("1.50", Decimal("1.50")),
        ("1.500", Decimal("1.50")),
        (".5", Decimal("0.50")),
        ("7", Decimal("7.00")),
    ],
    "date": [("2026-03-01 00:00:00", date(2026, 3, 1))],
    "timestamptz": [
        ("2026-03-01 10:30", AT.replace(tzinfo=UTC)),
        ("2026-03-01T12:30:00+02:00", AT.replace(tzinfo=UTC)),
    ],
    "double": [("1e3", 1000.0), ("0.1", 0.1)],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD_KEYS.items() for text in texts])
def test_a_key_that_its_type_would_change(kind: str, text: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text(f'id,at,label\n,2026-03-01,"two\nlines"\n\n"{text}",2026-03-01,\n')
    with pytest.raises(SpineError) as found:
        spine_of(path, warehouse, {"id": read_type(kind)})
    assert f"spine.csv cannot be read: line 5: the column 'id' is of type {kind}, and '{text}' is not" in str(
        found.value
    )


@pytest.mark.parametrize("kind", GOOD_KEYS)
def test_a_key_is_read_as_its_type(kind: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text("id,at\n" + "".join(f'"{text}",2026-03-01\n' for text, _ in GOOD_KEYS[kind]))
    table = warehouse.table(f"from {spine_of(path, warehouse, {'id': read_type(kind)}).relation}", "no")
    assert table["id"].to_pylist() == [value for _, value in GOOD_KEYS[kind]]


FAULTS = {
    "a short line": ("id,at\n#1,2026-03-01\n#2\n", "line 3 has 1 values, and the first line names 2"),
    "a long line": ("id,at\n1,2026-03-01,\n", "line 2 has 3 values, and the first line names 2"),
    "a long line behind quotes": ('id,at\n"1\n",2026-03-01\n1,2,3\n', "line 4 has 3 values"),
    "an open quote": ('id,at\n"1,2026-03-01\n2,2026-03-01\n', "line 2: its double quotes do not match"),
    "text behind a quote": ('id,at\n1,2026-03-01\n"1" x,2026-03-01\n', "line 3: its double quotes do not match"),
    "an Excel workbook": ("PK\3\4", "it is a ZIP archive or an Excel workbook; save the table as CSV"),
    "the delimiter for Excel": ("sep=;\nid;at\n", "line 1 tells Excel the delimiter; delete the line"),
    "commas in one name": (
        "id;at;a,b,c,d\n1;2026-03-01;2\n",
        r"line 2 has 1 values, .* names 4 \(the delimiter is ','\)",
    ),
    "a comment": ("id,at\n# a comment\n", "line 2 has 1 values"),
    "no name": (",id,at\n0,1,2026-03-01\n", r"column 1 has no name; .* to_csv\(index=False\)"),
    "a blank first line": ("\nid,at\n", "the first line is blank; its first line must name the columns"),
    "a NUL": ("id,at\n1,2026-03-01\n\0,\n", "line 3 holds a NUL byte"),
    "names of R": ("id,at\n1,1,2026-03-01\n", "line 2 has 3 values"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_line(fault: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    text, words = FAULTS[fault]
    (tmp_path / "spine.csv").write_bytes(text.encode())
    with pytest.raises(SpineError, match=rf"spine\.csv cannot be read: {words}"):
        spine_of(tmp_path / "spine.csv", warehouse)


@pytest.mark.parametrize("name", ["spine.csv", "spine.csv.gz"])
def test_a_cut_off_archive(name: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"id,at\n1,2026-03-01\n" * 999)[:-9])
    with pytest.raises(SpineError, match="it is not a whole gzip file"):
        spine_of(tmp_path / name, warehouse)


def test_a_quote_within_a_value_is_a_sign_of_it(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text('id,at,note\n1,2026-03-01,5" pipe\n2,2026-03-01,6" pipe\n3,2026-03-01,"a ""b"""\n')
    spine = spine_of(path, warehouse)
    assert warehouse.table(f"from {spine.relation}", "no")["note"].to_pylist() == ['5" pipe', '6" pipe', 'a "b"']


def test_a_delimiter_by_which_the_first_line_cannot_be_read_is_none(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    path = tmp_path / "spine.csv"
    path.write_text('"id";"at";"a,b,c,d,e"\n1;2026-03-01;2\n')
    table = warehouse.table(f"from {spine_of(path, warehouse).relation}", "no")
    assert table.select(["id", "a,b,c,d,e"]).to_pylist() == [{"id": "1", "a,b,c,d,e": 2}]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_the_sql_means_the_same_in_every_time_zone(zone: str, warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    times = ["2026-03-01", "2026-03-01 10:30", "2026-03-01T10:30:00.9999999", "2026-03-01T12:30:00.9999999+02:00"]
    path = tmp_path / "spine.csv"
    path.write_text("id,at\n" + "".join(f"1,{time}\n" for time in times))
    sql = spine_of(path, warehouse).sql.replace(path.name, str(path))
    with duckdb.connect() as connection:
        connection.execute(f"set TimeZone = '{zone}'")
        found = [time for (time,) in connection.execute(f'select epoch_us("at") from {sql}').fetchall()]
    late = AT.replace(microsecond=999999)
    assert found == [
        int(at.replace(tzinfo=UTC).timestamp()) * 1_000_000 + at.microsecond
        for at in (datetime(2026, 3, 1), AT, late, late)
    ]


def test_values_larger_than_a_piece(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    """The JSON of a page, say; Arrow reads in pieces, and Python's csv module has a limit."""
    path, large = tmp_path / "spine.csv", "x, y" * 700_000
    path.write_text(f'id,at,note\n1,2026-03-01,"{large}"\n2,2026-03-01,\n')
    assert warehouse.table(f"from {spine_of(path, warehouse).relation}", "no")["note"].to_pylist() == [large, None]
