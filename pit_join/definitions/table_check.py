"""The check of a stored table against its feature view."""

from __future__ import annotations

from collections.abc import Mapping

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, WarehouseError

__all__ = ["check_table"]


def check_table(view: FeatureView, columns: Mapping[str, FieldType]) -> None:
    """Check the columns of a view's table (name to type) against its YAML.

    Times and keys decide the answer, so a declared type that differs from the table's is an error for them, not a cast.
    The same holds for columns that windows add up: integers, decimals and floats are each added in their own way.

    Raises:
        WarehouseError: if a column is missing.
        PitJoinError: if a time, a key or a summed column has another type.
    """
    lower = {name.lower(): kind for name, kind in columns.items()}
    summed = {one.column for one in view.aggregations if one.adds_up}
    for name, declared in view.types.items():
        actual = lower.get(name.lower())
        if actual is None:
            raise WarehouseError(
                f"the table of the feature view '{view.name}' has no column '{name}', which {view.path} lists; "
                f"run dbt build, or mend the YAML. It has {', '.join(columns)}"
            )
        if name in (view.event_timestamp, view.created_timestamp):
            fits = declared == actual
        elif name in summed:
            fits = declared.number == actual.number
        else:
            fits = name not in view.join_keys or declared.family == actual.family
        if not fits:
            raise PitJoinError(
                f"{view.path}: {view.name}: the column '{name}' is declared {declared}, and the table's is {actual}; "
                "correct the data_type, cast the column in the model (column_types for a seed), or run dbt build"
            )
