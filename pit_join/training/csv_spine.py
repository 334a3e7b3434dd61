"""CSV files as spines. Every record is a row or an error with its line, and no guess changes a text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from pit_join.definitions.field_type import FieldType, read_type
from pit_join.errors import PitJoinError, SpineError
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CsvFile", "typed"]

# The texts that are read as a type where nothing declares one. What a person may have meant as a code stays text.
_BOOLEAN = "(?i:true|false)"
_INTEGER = "0|-?[1-9][0-9]{0,17}"
_NUMBER = rf"{_INTEGER}|-0|-?(?:0|[1-9][0-9]*)\.[0-9]+|-?[0-9](?:\.[0-9]+)?e[+-][0-9]{{1,3}}"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MINUTE, _SECONDS = "(?:[01][0-9]|2[0-3]):[0-5][0-9]", r":[0-5][0-9](?:\.[0-9]{1,9})?"
_NAIVE = f"{_DAY}(?:[ T]{_MINUTE}(?:{_SECONDS})?)?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)"
_ZONED = f"{_DAY}[ T]{_MINUTE}{_SECONDS}{_ZONE}"  # DuckDB 1.5 reads no zone behind a minute
_TIME = f"{_NAIVE}|{_ZONED}"
_NANOSECONDS = r"\.[0-9]{7,9}"

_EXACT_DIGITS = 15  # a double keeps any number of so many
_TRIED = 64
_READ_IN_PIECES = 2**20


class CsvFile:
    """One state of a CSV file, as texts; an empty value is a null, quoted or not.

    The delimiter is the given one, or the sign that splits the first record into the most columns.

    Args:
        path: the file, UTF-8, compressed by gzip or not.
        what: the opening of an error message.
        delimiter: the delimiter; None to look for a comma, semicolon, tab or bar.

    Raises:
        SpineError: naming the line, if not every record can be read as a row.
    """

    def __init__(self, path: Path, what: str, delimiter: str | None) -> None:
        self._what = what
        content = path.read_bytes()
        self._compression = "gzip" if content[:2] == b"\x1f\x8b" else "none"
        if self._compression == "gzip":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError) as error:
                raise SpineError(f"{what}: it is not a whole gzip file: {error}") from error
        self._content = content
        self._check_encoding()
        self.delimiter = delimiter or max(",;\t|", key=self._columns_split_by)
        first_line, self.header = next(self._records(), (1, []))
        if first_line != 1 or not any(self.header):
            empty = "the first line is blank" if content.strip() else "the file is empty"
            raise SpineError(f"{what}: {empty}; its first line must name the columns")
        if "" in self.header:
            raise SpineError(
                f"{what}: column {self.header.index('') + 1} has no name; give it one (pandas writes an index so: "
                "to_csv(index=False) leaves it out)"
            )
        if not self._quotes_match():
            self._check_records()  # Arrow would take an open quote and the lines behind it for one value
        self.texts = self._parsed()

    def _check_encoding(self) -> None:
        content = self._content
        if content[:4] == b"PK\3\4":
            raise SpineError(f"{self._what}: it is a ZIP archive or an Excel workbook; save the table as CSV, in UTF-8")
        if content.removeprefix(codecs.BOM_UTF8)[:4] == b"sep=":
            raise SpineError(f"{self._what}: line 1 tells Excel the delimiter; delete the line")
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise SpineError(f"{self._what}: it is UTF-16; save the file as UTF-8")
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise SpineError(f"{self._what}: line {line} is not UTF-8; save the file as UTF-8") from error
        if (position := content.find(b"\0")) >= 0:
            line = content.count(b"\n", 0, position) + 1
            raise SpineError(f"{self._what}: line {line} holds a NUL byte; is it a text file in UTF-8?")

    def _lines(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self._content), encoding="utf-8-sig", newline="")

    def _columns_split_by(self, sign: str) -> int:
        try:
            return len(next(csv.reader(self._lines(), delimiter=sign, strict=True), []))
        except csv.Error:
            return 0

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line on which each record starts, and its values."""
        before = csv.field_size_limit(len(self._content) + 1)
        try:
            lines = csv.reader(self._lines(), delimiter=self.delimiter, strict=True)
            start = 1
            for values in lines:
                if values:  # a blank line is not a record
                    yield start, values
                start = lines.line_num + 1
        except csv.Error as error:
            raise SpineError(f"{self._what}: line {start}: its double quotes do not match ({error})") from error
        finally:
            csv.field_size_limit(before)

    def _quotes_match(self) -> bool:
        """Return whether every opening quote begins a value, and every closing quote ends one.

        Where not, the file may still be right: a value without quotes may hold one.
        """
        import numpy as np

        content = np.frombuffer(self._content, np.uint8)
        ends = np.frombuffer(f'"{self.delimiter}\r\n'.encode(), np.uint8)
        quotes = np.flatnonzero(content == ord('"'))
        before, after = content[quotes[::2] - 1], content[(quotes[1::2] + 1) % len(content)]
        first = 3 if self._content.startswith(codecs.BOM_UTF8) else 0
        begins = np.isin(before, ends) | (quotes[::2] == first)
        return len(quotes) % 2 == 0 and bool(
            begins.all() and (np.isin(after, ends) | (quotes[1::2] + 1 == len(content))).all()
        )

    def _check_records(self) -> None:
        for line, values in self._records():
            if len(values) != len(self.header):
                raise SpineError(
                    f"{self._what}: line {line} has {len(values)} values, and the first line names {len(self.header)} "
                    f"(the delimiter is {self.delimiter!r})"
                )

    def _parsed(self) -> pa.Table:
        import pyarrow as pa
        import pyarrow.csv

        options = {
            "parse_options": pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=b'"' in self._content),
            "convert_options": pa.csv.ConvertOptions(
                column_types=dict.fromkeys(self.header, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        }
        whole = self._content if self._content.endswith((b"\n", b"\r")) else self._content + b"\n"
        for size in (_READ_IN_PIECES, max(_READ_IN_PIECES, len(whole) + 1)):
            try:
                return pa.csv.read_csv(
                    pa.BufferReader(whole), read_options=pa.csv.ReadOptions(block_size=size), **options
                )
            except pa.ArrowInvalid as error:
                self._check_records()  # names the line
                if "straddl" not in str(error) or size > _READ_IN_PIECES:
                    raise SpineError(f"{self._what}: {error}") from error
        raise AssertionError

    def line(self, row: int) -> int:
        """Return the line on which a row of `texts` starts."""
        return next(line for number, (line, _) in enumerate(self._records()) if number == row + 1)

    def types(
        self, declared: Mapping[str, FieldType], time: str, warehouse: DuckDBWarehouse, table: str
    ) -> dict[str, FieldType]:
        """Return the types of the columns that are not texts.

        `declared` are types by column, `time` is the column with T, `table` the name of `texts` in the warehouse.

        Raises:
            SpineError: naming the line and the value, if a value is not of the declared type, or T is not a time.
        """
        others = [name for name in self.header if name not in declared and name != time]
        with ThreadPoolExecutor() as threads:
            guesses = zip(others, threads.map(self._guess, others), strict=True)
        found = {name: read_type(kind) for name, kind in guesses if kind}
        if time not in declared:
            found[time] = self._time_type(time)
        for name, declared_type in declared.items():
            self._check_spelling(name, declared_type)
            if declared_type.name != "VARCHAR":
                found[name] = declared_type
        unread = self._unread(found, warehouse, table)
        for name, row in unread.items():
            if name == time or name in declared:
                raise self._error(name, found[name], row)
            del found[name]
        return {name: found[name] for name in self.header if name in found}

    def _guess(self, name: str) -> str | None:
        """Return the type of a column that nothing declares; None is text."""
        values = self.texts[name].drop_null()
        some = values.slice(0, _TRIED).to_pylist()

        def are(pattern: str) -> bool:
            return all(re.fullmatch(pattern, value) for value in some) and _first_unlike(values, pattern) is None

        if not some:
            return None
        if are(_BOOLEAN):
            return "BOOLEAN"
        if are(_INTEGER):
            return "BIGINT"
        if are(_NUMBER):
            return "DOUBLE" if _are_doubles(values) else None
        if are(_DAY):
            return "DATE"
        if are(_NAIVE):
            return "TIMESTAMP_NS" if _any_like(values, _NANOSECONDS) else "TIMESTAMP"
        return "TIMESTAMPTZ" if are(_ZONED) and not _any_like(values, _NANOSECONDS + _ZONE) else None

    def _time_type(self, name: str) -> FieldType:
        values = self.texts[name]
        if (row := _first_unlike(values, _TIME)) is not None:
            raise SpineError(
                f"{self._what}: line {self.line(row)}: the column '{name}' must be a timestamp or date, got "
                f"'{values[row].as_py()}'; write times as 2026-03-18 14:30:00 (UTC) or 2026-03-18T14:30:00+02:00"
            )
        if values.null_count == len(values) or _any_like(values, _SECONDS + _ZONE):
            return read_type("TIMESTAMPTZ")  # in it a time without a zone is UTC
        if _first_unlike(values, _DAY) is None:
            return read_type("DATE")
        return read_type("TIMESTAMP_NS" if _any_like(values, _NANOSECONDS) else "TIMESTAMP")

    def _check_spelling(self, name: str, kind: FieldType) -> None:
        """Refuse texts that DuckDB would round or cut to fit the type, such as 1.5 for an integer."""
        pattern = _spelling(kind)
        if pattern and (row := _first_unlike(self.texts[name], pattern)) is not None:
            raise self._error(name, kind, row)

    def _unread(self, types: Mapping[str, FieldType], warehouse: DuckDBWarehouse, table: str) -> dict[str, int]:
        """Return the first row of each column that has a text which is not a value of the column's type."""
        tests = [
            f"{name} is not null and try_cast({name} as {kind.sql}) is null as {name}"
            for name, kind in zip(map(identifier, types), types.values(), strict=True)
        ]
        if not tests:
            return {}
        wrong = warehouse.table(f"select {', '.join(tests)} from {table}", self._what)
        rows = {name: wrong[name].index(True).as_py() for name in types}
        return {name: row for name, row in rows.items() if row >= 0}

    def _error(self, name: str, kind: FieldType, row: int) -> SpineError:
        return SpineError(
            f"{self._what}: line {self.line(row)}: the column '{name}' is of type {kind}, and "
            f"'{self.texts[name][row].as_py()}' is not"
        )

    def sql(self, path: str) -> str:
        """Return SQL that reads the texts with DuckDB's own reader; `path` is the file as a literal of SQL."""
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.header)
        return (
            f"read_csv({path}, auto_detect = false, header = true, delim = {literal(self.delimiter)}, quote = '\"', "
            f"escape = '\"', comment = '', nullstr = '', strict_mode = true, compression = '{self._compression}', "
            f"hive_partitioning = false, columns = {{{columns}}})"
        )

    def check_sql(self, warehouse: DuckDBWarehouse, path: str) -> None:
        """Check that DuckDB's own reader reads the same texts: of odd files it makes other rows.

        Raises:
            SpineError: if it does not.
        """
        try:
            same = warehouse.table(f"from {self.sql(path)}", self._what).cast(self.texts.schema).equals(self.texts)
        except PitJoinError:
            same = False
        if not same:
            raise SpineError(
                f"{self._what} by SQL alone: DuckDB's own reader makes other rows of it; let pit-join build the "
                "training set, or write the spine as Parquet"
            )


def typed(types: Mapping[str, FieldType], source: str) -> str:
    """Return SQL that can stand behind `from`: the columns of a source of texts, cast to their types."""
    casts = ", ".join(f"{_cast(identifier(name), kind)} as {identifier(name)}" for name, kind in types.items())
    return f"(select * replace ({casts}) from {source})" if casts else source


def _cast(column: str, kind: FieldType) -> str:
    plain = f"cast({column} as {kind.sql})"
    if not _is_zoned(kind):
        return plain
    # A time without a zone is UTC, whatever the zone of the session that runs the SQL.
    has_zone = f"regexp_matches({column}, ':[0-9.]+(Z|[+-][0-9:]+)$')"
    return f"case when {has_zone} then {plain} else timezone('UTC', cast({column} as timestamp)) end"


def _is_zoned(kind: FieldType) -> bool:
    return kind.family == "time" and ("ZONE" in kind.name or "TZ" in kind.name)


def _first_unlike(values: pa.ChunkedArray, pattern: str) -> int | None:
    """Return the number of the first value that a pattern does not match as a whole; nulls match everything."""
    import pyarrow.compute as pc

    before = 0
    for chunk in values.chunks:
        row = pc.match_substring_regex(chunk, f"^(?:{pattern})$").index(False).as_py()
        if row >= 0:
            return before + int(row)
        before += len(chunk)
    return None


def _any_like(values: pa.ChunkedArray, ending: str) -> bool:
    """Return whether a value ends as a pattern says."""
    import pyarrow.compute as pc

    return any(pc.any(pc.match_substring_regex(chunk, f"{ending}$")).as_py() for chunk in values.chunks)


def _are_doubles(numbers: pa.ChunkedArray) -> bool:
    """Return whether a double keeps every digit of these numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    long = pc.or_(pc.greater(pc.binary_length(numbers), _EXACT_DIGITS), pc.match_substring(numbers, "e"))
    odd = numbers.filter(long)
    odd = odd.filter(pc.not_equal(odd.cast(pa.float64()).cast(pa.string()), odd))
    return all(Decimal(repr(float(text))) == Decimal(text) for text in odd.to_pylist())


def _spelling(kind: FieldType) -> str | None:
    """Return the pattern of the texts that a declared type keeps whole; None where DuckDB's cast says so itself."""
    if kind.number == "integer":
        return r"\s*[+-]?[0-9]+(?:\.0*)?\s*"
    if kind.number == "decimal":
        return rf"\s*[+-]?(?:[0-9]+(?:\.[0-9]{{0,{kind.scale}}}0*)?|\.[0-9]{{1,{kind.scale}}}0*)\s*"
    if kind.name == "DATE":
        return rf"{_DAY}(?:[ T]00:00(?::00(?:\.0+)?)?)?"
    if kind.family == "time":
        return _TIME if _is_zoned(kind) else _NAIVE
    return None
