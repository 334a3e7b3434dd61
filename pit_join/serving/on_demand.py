"""On-demand features of requests: arguments from records and from the request, computed by the SQL of the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pit_join.definitions.field_type import read_type
from pit_join.errors import ComputeError, EntityError, StoreError
from pit_join.online.protocol import Failed
from pit_join.records.keys import is_missing
from pit_join.records.store_manifest import OnDemandArguments
from pit_join.serving.role_records import FeatureColumn, RoleRecords
from pit_join.statuses import COMPUTE_FAILED, NULL_VALUE, PRESENT
from pit_join.warehouse.sql import identifier

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OnDemand"]

_SQL_TYPES = {
    "bool": "boolean", "int8": "tinyint", "int16": "smallint", "int32": "integer", "int64": "bigint",
    "uint8": "utinyint", "uint16": "usmallint", "uint32": "uinteger", "uint64": "ubigint", "float": "float",
    "double": "double", "string": "varchar", "binary": "blob", "date32": "date", "timestamp[us]": "timestamp",
    "timestamp[us, UTC]": "timestamptz",
}  # fmt: skip


_COARSE_UNITS = ("Y", "M", "W", "D", "h", "m")  # of NumPy's instants; Arrow has none of them


class OnDemand:
    """The on-demand features of one request, ready to be computed again and again; safe to share between threads.

    `statements` are their SQL, see `StoredService`; `arguments` are its arguments. A value that cannot be computed is
    an error if `strict`; otherwise its default stands for it, with the status `COMPUTE_FAILED`. A feature that is
    computed from features that could not be read has their status.
    """

    def __init__(
        self, statements: Sequence[str], arguments: OnDemandArguments, *, defaults: bool, strict: bool
    ) -> None:
        # Imported here, since only requests with on-demand features need DuckDB.
        from pit_join.warehouse.expressions import Expressions, problem_of_statements

        self.fields = arguments.fields
        self._types: dict[str, str] = {}
        for role in arguments.roles:
            stored = {field.name: field.type for field in role.view.layout.fields}
            self._types |= {name: stored[feature] for name, feature in zip(role.names, role.features, strict=True)}
        taken = (*((name, ()) for name in self._types), *self.fields.items())
        if problem := problem_of_statements(tuple(statements), taken, tuple(arguments.returns.items())):
            raise StoreError(
                "the online store is damaged: the SQL of its on-demand features cannot be that of an export "
                f"({problem}); run pit-join export"
            )
        sql_types = {name: _SQL_TYPES.get(kind, kind) for name, kind in self._types.items()}
        self._plain = all(kind.startswith("decimal") or kind in _SQL_TYPES.values() for kind in sql_types.values())
        columns: dict[str, str | None] = {**sql_types, **dict.fromkeys(self.fields)}
        statement = statements[0 if defaults else 1]
        self._expressions = Expressions(statement, columns, tuple(arguments.returns.values()))
        self._tried = Expressions(statements[2], {}) if len(statements) > 2 and not strict else None
        self._arguments, self._defaults = arguments, defaults
        self.names, self._returns = tuple(arguments.returns), arguments.returns

    def load(self) -> None:
        """Load what computations need: DuckDB and Arrow, which imports pandas where it is installed."""
        for kind in self._returns.values():
            _type_of(kind)

    def one(self, arguments: Sequence[RoleRecords], row: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
        """Compute the features of one row, and their statuses; `arguments` are features, `row` has the fields.

        Raises:
            EntityError: if a field is missing, or does not fit its type.
            ComputeError: if they cannot be computed, and reading is strict.
        """
        try:
            fields = {name: [self._value(name, row[name])] for name in self.fields}
        except KeyError as error:
            raise EntityError(f"the request has no {error}; on-demand features need {', '.join(self.fields)}") from None
        if self._plain:
            columns = [*(values for read in arguments for values in read.columns().values()), *fields.values()]
            try:
                if (found := self._expressions.one([values[0] for values in columns])) is not None:
                    failed = self._failed(arguments)
                    pairs = zip(self.names, found, strict=True)
                    return list(found), [failed.get(name, (None,))[0] or _status(value) for name, value in pairs]
            except ComputeError:  # `_many` finds the features that can be computed
                if self._tried is None:
                    raise
        made = self._many(arguments, fields).values()
        return [column.values[0] for column in made], [column.statuses[0] for column in made]

    def many(self, arguments: Sequence[RoleRecords], fields: Mapping[str, list[Any]]) -> dict[str, FeatureColumn]:
        """Compute the features of many rows, by name; see `one`."""
        return self._many(arguments, {name: [self._value(name, one) for one in fields[name]] for name in self.fields})

    def columns(self, values: Mapping[str, Any], statuses: Sequence[str]) -> dict[str, FeatureColumn]:
        """Return values by name and statuses, which `one` returned, in the form of `many`."""
        return {
            name: FeatureColumn("on_demand", _type_of(self._returns[name]), [values[name]], [status], [None])
            for name, status in zip(self.names, statuses, strict=True)
        }

    def _failed(self, arguments: Sequence[RoleRecords]) -> dict[str, list[str | None]]:
        """Return the features with arguments that could not be read, with their status in each row or None."""
        roles = {}
        for role, read in zip(self._arguments.roles, arguments, strict=True):
            if isinstance(given := read.given, Failed):
                lost = [given.status if place in given.lost else None for place in range(len(read.lengths))]
                roles[role.alias] = read.by_row(lost)
        found = {}
        for name, aliases in self._arguments.takes.items():
            if failed := [roles[alias] for alias in sorted(aliases) if alias in roles]:
                found[name] = [next(filter(None, row), None) for row in zip(*failed, strict=True)]
        return found

    def _many(self, arguments: Sequence[RoleRecords], fields: Mapping[str, list[Any]]) -> dict[str, FeatureColumn]:
        import pyarrow as pa

        from pit_join.records.arrow import arrow_type, type_name, values_of

        columns: dict[str, pa.Array] = {}
        for read in arguments:
            for name, values in read.columns().items():
                columns[name] = pa.array(values, arrow_type(self._types[name]))
        for name, values in fields.items():
            try:
                columns[name] = pa.array(values)
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                raise EntityError(f"the values of the request's field '{name}' are not of one type: {error}") from error
        failed, result = self._failed(arguments), {}
        for name, (array, wrong) in self._computed(pa.table(columns)).items():
            values, kind = values_of(array), array.type
            statuses = list(map(_status, values))
            if name in failed:
                statuses = [lost or status for lost, status in zip(failed[name], statuses, strict=True)]
            if wrong is not None:
                statuses = [COMPUTE_FAILED if w else s for w, s in zip(wrong.to_pylist(), statuses, strict=True)]
            result[name] = FeatureColumn(
                "on_demand", type_name(kind) or str(kind), values, statuses, [None] * len(values)
            )
        return result

    def _computed(self, table: pa.Table) -> dict[str, tuple[pa.Array, pa.Array | None]]:
        """Compute the features by name, and which of their values failed and are defaults."""
        from pit_join.warehouse.expressions import ARGUMENTS, Expressions, untried

        try:
            found = self._expressions.many(table)
            return {name: (found[name], None) for name in self.names}
        except ComputeError:
            if self._tried is None:
                raise
        # A field that does not fit its type is a bad request, whatever is computed from it.
        casts = [f"cast({identifier(name)} as {kind})" for name, kinds in self.fields.items() for kind in kinds]
        if casts:
            Expressions(f"select {', '.join(casts)} from {ARGUMENTS}", {}).many(table)
        found = self._tried.many(table)
        return {name: untried(found[name], self._defaults) for name in self.names}

    def _value(self, name: str, value: Any) -> Any:
        """Return the value of a request's field if its kind fits the types of the arguments."""
        if is_missing(value):
            return None
        if isinstance(value, np.datetime64):
            seconds = value.astype("datetime64[s]")
            if np.datetime_data(value)[0] in _COARSE_UNITS and seconds == value:  # else it is beyond all instants
                value = seconds
        elif isinstance(value, np.generic):
            value = value.item()
        for wanted in self.fields[name]:
            if not read_type(wanted).takes(_family_of(value)):
                raise EntityError(
                    f"the request's field '{name}' is {value!r}, and on-demand features take it as {wanted}"
                )
        return value

    def read_field(self, name: str, text: str) -> Any:
        """Read the value of a field from text."""
        wanted = {read_type(kind).family for kind in self.fields[name]}
        readers: dict[str, Callable[[str], Any]] = {"number": _number, "BOOLEAN": _flag}
        read = readers.get(wanted.pop()) if len(wanted) == 1 else None
        try:
            return read(text) if read else text
        except (ValueError, ArithmeticError):
            kinds = " and ".join(self.fields[name])
            raise EntityError(f"the field '{name}': '{text}' is not of type {kinds}") from None


def _status(value: Any) -> str:
    return NULL_VALUE if value is None else PRESENT


@cache
def _type_of(returns: str) -> str:
    """Return the type of a column (see `records.layout.Field`) that DuckDB returns for an SQL type."""
    import pyarrow as pa

    from pit_join.records.arrow import type_name
    from pit_join.warehouse.expressions import Expressions

    found = Expressions(f"select cast(null as {returns}) as value", {}).many(pa.table({"nothing": [None]}))
    kind = found.schema.field("value").type
    return type_name(kind) or str(kind)


def _family_of(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, (Real, Decimal)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "time" if isinstance(value, (date, np.datetime64)) else "other"


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if math.isinf(number) and "inf" not in text.lower():
            raise
        return number


def _flag(text: str) -> bool:
    known = {"true": True, "false": False}
    if text.strip().lower() not in known:
        raise ValueError
    return known[text.strip().lower()]
