"""Tables in memory, of pandas, polars and Arrow: their columns, and what of one library another can hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Literal, get_args

from pit_join.errors import PitJoinError, SpineError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Dtypes",
    "as_arrow",
    "as_pandas",
    "as_polars",
    "check_finite",
    "columns_of",
    "copy_of",
    "metadata_of",
    "readable",
    "table_of",
    "unpacked",
]

Dtypes = Literal["nullable", "numpy"]

# Extension types that DuckDB knows; of any other it would take the storage for the value.
_KNOWN_TO_DUCKDB = ("arrow.uuid", "arrow.json", "arrow.bool8", "arrow.opaque")
_DECIMAL_DIGITS = 38
_EXACT_IN_FLOATS = 2**53


def table_of(given: Any) -> Any | None:
    """Return what a caller gave as a pandas or polars frame or as an Arrow table; None if it is not a table.

    Raises:
        PitJoinError: if it cannot be read.
    """
    if _is_of("pandas", given) or _is_of("polars", given):
        return given
    lazy = _is_of("polars", given, "LazyFrame")
    column = _is_of("pandas", given, "Series") or _is_of("polars", given, "Series")
    if column or (not lazy and not hasattr(given, "__arrow_c_stream__")):
        return None
    import pyarrow as pa

    if isinstance(given, pa.Table):
        return given
    try:
        return given.collect() if lazy else pa.table(given)
    except Exception as error:  # of whatever library
        raise PitJoinError(f"the table cannot be read: {' '.join(str(error).split())}") from error


def copy_of(table: Any) -> Any:
    """Return a table that no later change of the given one reaches; Arrow tables do not change."""
    if _is_of("pandas", table):
        return table.copy()
    return table.clone() if _is_of("polars", table) else table


def columns_of(table: Any) -> list[tuple[str, Any]]:
    """Return the columns of a table with their names; named levels of a pandas index come first.

    A level that has the name of a column is left out.
    """
    if _is_of("polars", table):
        return [(column.name, column) for column in table.get_columns()]
    if not _is_of("pandas", table):
        return list(zip(table.column_names, table.columns, strict=True))
    columns = [(str(label), table.iloc[:, number]) for number, label in enumerate(table.columns)]
    taken = {name.lower() for name, _ in columns}
    levels = [
        (str(name), table.index.get_level_values(number))
        for number, name in enumerate(table.index.names)
        if name is not None and str(name).lower() not in taken
    ]
    return levels + columns


def _is_of(library: str, given: Any, kind: str = "DataFrame") -> bool:
    module = sys.modules.get(library)  # not imported: a caller with a frame has imported it
    return module is not None and isinstance(given, getattr(module, kind))


def as_arrow(table: Any, names: Collection[str] | None = None) -> pa.Table:
    """Return a table, or some columns of it, as an Arrow table.

    Raises:
        SpineError: naming the columns that Arrow cannot hold, and their types.
    """
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table if names is None else table.select(list(names))
    found, refused = {}, []
    for name, column in columns_of(table):
        if names is not None and name not in names:
            continue
        try:
            found[name] = _in_arrow(column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            refused.append(f"'{name}' ({column.dtype}: {' '.join(str(error).split())})")
    if refused:
        raise SpineError(
            f"Arrow cannot hold these columns of the spine given in memory: {', '.join(refused)}; convert "
            "them, or leave them out"
        )
    return pa.table(found)


def _in_arrow(column: Any) -> pa.Array | pa.ChunkedArray:
    """Return a column of pandas or polars in Arrow; in pandas a NaN is a missing value."""
    import pyarrow as pa

    if not _is_of("polars", column, "Series"):
        return pa.array(column, from_pandas=True)
    if str(column.dtype) == "Object":
        raise TypeError("objects of Python")  # polars would return their addresses
    return column.to_arrow()


def metadata_of(spine: Any, features: pa.Schema) -> dict[bytes, bytes] | None:
    """Return the metadata of a spine and its features in Arrow; pandas' notes of dtypes and index hold for both."""
    import pyarrow as pa

    found = {**(spine.schema.metadata or {})} if isinstance(spine, pa.Table) else {}
    if _is_of("pandas", spine):
        empty = spine.iloc[:0].set_axis([*map(str, spine.columns)], axis=1)
        found |= pa.Schema.from_pandas(empty, preserve_index=True).metadata
    if b"pandas" in found:
        notes = json.loads(found[b"pandas"])
        if _is_of("pandas", spine):
            # Levels without a name do not go into Arrow.
            names = [name for name, _ in columns_of(spine)]
            notes["index_columns"] = [each for each in notes["index_columns"] if each in names]
            notes["columns"] = [each for each in notes["columns"] if each["field_name"] in names]
        notes["columns"] += [
            {"name": field.name, "field_name": field.name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
            for field in features
            for kind, dtype in [(str(field.type), _nullable(field.type))]
            if dtype
        ]
        found[b"pandas"] = json.dumps(notes).encode()
    return found or None


def _nullable(kind: pa.DataType) -> str | None:
    """Return pandas' nullable dtype of integers or flags."""
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "boolean"
    return str(kind).replace("i", "I").replace("u", "U") if pa.types.is_integer(kind) else None


def as_pandas(table: Any, dtypes: Dtypes, instead: str = "to_arrow() or to_polars()") -> Any:
    """Return a table as a pandas frame, itself if it is one; else the dtypes follow the types, never the values.

    Integers and flags have pandas' nullable dtypes; with the dtypes `numpy` those of NumPy, floats and objects where
    there are nulls. Where pandas has written down its own dtypes in an Arrow table, they are used. Errors advise the
    methods `instead`.

    Raises:
        PitJoinError: if pandas cannot hold a column, or would change integers above 2^53; or of other `dtypes`.
    """
    import pandas

    if dtypes not in get_args(Dtypes):
        raise PitJoinError(f"unknown dtypes '{dtypes}'; there are {' and '.join(get_args(Dtypes))}")
    if _is_of("pandas", table):
        return table
    table = _each(as_arrow(table), _for_pandas)
    mapped: dict[pa.DataType, Any] = {}
    if dtypes == "nullable" and b"pandas" not in (table.schema.metadata or {}):
        mapped = {
            kind: pandas.api.types.pandas_dtype(dtype) for kind in table.schema.types if (dtype := _nullable(kind))
        }
    frame = _converted(table, lambda part: part.to_pandas(types_mapper=mapped.get), "pandas", instead)
    changed = [
        name
        for name, column in columns_of(frame)
        if not pandas.api.types.is_extension_array_dtype(column.dtype) and _would_change(table[name])
    ]
    if changed:
        raise PitJoinError(
            f"pandas would change integers above 2^53 in {_listed(changed)}: beside nulls it makes floats of them; "
            + ("leave out dtypes='numpy', or " if dtypes == "numpy" else "")
            + f"use {instead}"
        )
    return frame


def _for_pandas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return categories as older versions of pyarrow convert them, and arrays so that no integer becomes a float."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_fixed_size_list(kind) and column.null_count:
        # Beneath a null array lie null elements, and beneath a list that was taken none.
        return column.cast(pa.large_list(kind.value_type)).take(pa.array(range(len(column)), pa.int64()))
    # Those of polars have unsigned codes.
    if pa.types.is_dictionary(kind) and pa.types.is_unsigned_integer(kind.index_type):
        return column.cast(pa.dictionary(pa.int64(), kind.value_type, kind.ordered))
    return column


def _would_change(column: pa.ChunkedArray) -> bool:
    """Return whether pandas would make floats of integers, alone or in lists, that floats cannot tell apart."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    while any(is_list(column.type) for is_list in lists):
        column = pc.list_flatten(column)
    if not pa.types.is_integer(column.type) or not column.null_count:
        return False
    least, most = pc.min_max(column).as_py().values()
    return most is not None and max(-least, most) > _EXACT_IN_FLOATS


def as_polars(table: Any) -> Any:
    """Return a table as a polars frame, itself if it is one.

    Raises:
        PitJoinError: if polars cannot hold a column.
    """
    import polars

    return (
        table
        if _is_of("polars", table)
        else _converted(unpacked(as_arrow(table)), polars.from_arrow, "polars", "to_arrow()")
    )


def check_finite(table: pa.Table, library: str) -> None:
    """Check that no feature has a time without end, which Arrow has only as a number that libraries misread.

    Raises:
        PitJoinError: naming the features that have one.
    """
    if names := [name for name in table.column_names if _is_infinite(table[name])]:
        raise PitJoinError(
            f"{library} has no infinite times, and there are some in {_listed(names)}; make nulls of them in the "
            f"model, as in nullif({names[0]}, 'infinity'), or use to_arrow()"
        )


def _is_infinite(column: pa.ChunkedArray) -> bool:
    """Return whether a column has an infinite time, alone, in lists, in structs or in maps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    if pa.types.is_nested(column.type):
        inner = column.flatten() if pa.types.is_struct(kind) else [pc.list_flatten(column)]
        return any(map(_is_infinite, inner))
    if not (pa.types.is_date32(kind) or pa.types.is_timestamp(kind)):
        return False
    bits = kind.bit_width
    least, most = pc.min_max(column.cast(pa.int32() if bits == 32 else pa.int64())).as_py().values()
    end = 2 ** (bits - 1) - 1
    return bool(most == end or least == -end)


def _converted(table: pa.Table, convert: Callable[[pa.Table], Any], library: str, instead: str) -> Any:
    """Convert a table; if that fails, name the columns that are the reason."""
    panic = getattr(getattr(sys.modules.get("polars"), "exceptions", None), "PanicException", ())
    refused = (Exception, panic) if panic else Exception

    def fails(name: str) -> bool:
        try:
            convert(table.select([name]))
        except refused:
            return True
        return False

    try:
        return convert(table)
    except refused as error:
        names = [name for name in table.column_names if fails(name)]
        if not names:
            raise
        why = " ".join(str(error).split())
        raise PitJoinError(
            f"{library} cannot hold {_listed([f'{name}: {table[name].type}' for name in names])} ({why}); "
            f"use {instead}, or convert them"
        ) from error


def _listed(names: list[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} " + ", ".join(f"'{name}'" for name in names)


def unpacked(table: pa.Table) -> pa.Table:
    """Return the same values without run-end encoding and views of texts, which few readers know."""
    return _each(table, _unpacked)


def readable(table: pa.Table, *, as_text: bool = False) -> pa.Table:
    """Return the same values in types that DuckDB reads; `as_text` decimals of more digits become texts.

    Raises:
        PitJoinError: naming the columns, and their types, for which there is no such type.
    """
    found = _each(table, lambda column: _readable(column, as_text))
    if refused := [f"{field.name}: {field.type}" for field in found.schema if _is_foreign(field.type)]:
        raise PitJoinError(f"DuckDB cannot read {_listed(refused)}; convert them")
    return found


def _each(table: pa.Table, convert: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> pa.Table:
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        converted = convert(column)
        if converted is not column:
            table = table.set_column(number, name, converted)
    return table


def _unpacked(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_run_end_encoded(kind):
        return _unpacked(pc.run_end_decode(column))
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    return column


def _readable(column: pa.ChunkedArray, as_text: bool) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_float16(column.type):
        return column.cast(pa.float32())
    if pa.types.is_decimal256(column.type):
        try:
            return column.cast(pa.decimal128(_DECIMAL_DIGITS, column.type.scale))
        except pa.ArrowInvalid:
            return column.cast(pa.string()) if as_text else column
    plain = _without_categories(column.type)
    return column if plain == column.type else column.cast(plain)


def _without_categories(kind: pa.DataType, within_array: bool = False) -> pa.DataType:
    """Return a type with plain values for the categories in arrays: of those DuckDB reads the codes."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return kind.value_type if within_array else kind
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_without_categories(kind.value_type, True), kind.list_size)
    for is_it, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if is_it(kind):
            return make(_without_categories(kind.value_type, within_array))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_categories(field.type, within_array)) for field in kind])
    return kind


def _is_foreign(kind: pa.DataType) -> bool:
    """Return whether DuckDB cannot read a type, or would take the storage of an extension for its value."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name not in _KNOWN_TO_DUCKDB
    if pa.types.is_dictionary(kind):
        return _is_foreign(kind.value_type)
    inner = (kind.field(number).type for number in range(kind.num_fields))
    return pa.types.is_float16(kind) or pa.types.is_decimal256(kind) or any(map(_is_foreign, inner))
