"""The check of a stored table against its feature view."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, WarehouseError

__all__ = ["check_table"]

_LONGEST = 80


def check_table(
    view: FeatureView,
    columns: Mapping[str, FieldType],
    named: Callable[[str], FieldType | None] = lambda text: None,
) -> None:
    """Check the columns of a view's table (name to type) against its YAML.

    Stored values keep the types of the table, so the YAML must be true: see `FieldType.describes`. Times decide the
    answer, so they have the declared type itself. `named` returns a type that only the database of the table knows,
    such as an enum by its name; None if there is none.

    Raises:
        WarehouseError: with every problem, if a column is missing.
        PitJoinError: with every problem, if all are columns of another type, or a `rowid` that is not listed.
    """
    lower = {name.lower(): kind for name, kind in columns.items()}
    problems = []
    if "rowid" in lower and "rowid" not in map(str.lower, view.types):
        problems.append(
            f"{view.path}: {view.name}: the table has a column 'rowid', which hides DuckDB's own row numbers; list it, "
            "with exclude: true if it is not a feature"
        )
    if missing := [name for name in view.types if name.lower() not in lower]:
        problems.append(
            f"{view.path}: {view.name}: the table of the feature view '{view.name}' has no column "
            f"{', '.join(map(repr, missing))}, which the YAML lists; run dbt build, or mend the YAML. It has "
            + ", ".join(columns)
        )
    for name, declared in view.types.items():
        actual = lower.get(name.lower())
        if actual and declared.text and not _fits(view, name, actual, named):
            problems.append(
                f"{view.path}: {view.name}: the column '{name}' is declared {_shown(declared)}, and the table's "
                f"is {_cut(actual.name)}; correct the data_type, cast the column in the model (column_types for a "
                "seed), or run dbt build"
            )
    if problems:
        raise (WarehouseError if missing else PitJoinError)("\n".join(problems))


def _fits(view: FeatureView, name: str, actual: FieldType, named: Callable[[str], FieldType | None]) -> bool:
    declared = view.types[name]
    if name in (view.event_timestamp, view.created_timestamp):
        # Parquet of pandas has nanoseconds, and the macros round them where an instant is declared.
        return declared == actual or (declared.name, actual.name) == ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
    if declared.describes(actual):
        return True
    # Keys of spines and requests are read by the declared type, whose name must say what it is.
    found = named(declared.text) if name not in view.key_columns.values() else None
    return found is not None and found.describes(actual)


def _shown(declared: FieldType) -> str:
    """Return a declared type; the text of a decimal may leave out its digits, as `numeric` does."""
    return f"{declared.text} ({declared.name})" if declared.number == "decimal" else _cut(declared.text)


def _cut(text: str) -> str:
    """Return a text that fits in a message: an enum may have thousands of values."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
