"""The offline rule, asked for single roles at any instants, and compared with what was served.

How a row of history is chosen is decided by `training`, as for a training set; here answers are only laid beside each
other, column by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.views import FeatureView
from pit_join.records.arrow import event_times
from pit_join.references import OnDemandRequest, Request
from pit_join.statuses import COMPUTE_FAILED, NOT_FOUND, NOT_YET_KNOWN, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from pit_join.training.build import TrainingBuild
from pit_join.training.request import TrainingRequest
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import ARGUMENTS, Expressions, untried
from pit_join.workspace import Histories, Workspace

__all__ = ["FeatureValues", "Known", "OfflineRule", "compute", "same", "same_values"]

_SPINE_TIME = "pit_join_instant"
_ROW = "pit_join_row"
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class FeatureValues:
    """The values of a feature, one a row, and its statuses as a reader of the online store gives them."""

    values: pa.Array
    statuses: pa.Array

    def filter(self, mask: pa.Array) -> FeatureValues:
        """Some of the rows."""
        return FeatureValues(self.values.filter(mask), self.statuses.filter(mask))


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of one role: values before defaults by feature, statuses of the view, and event times.

    Event times are those of the rows that were found, also of those that are too old.
    """

    values: Mapping[str, pa.Array]
    statuses: pa.Array
    event_times: pa.Array

    def aged(self, ttl: timedelta | None, moments: pa.Array) -> Known:
        """The same, with ages judged at later instants."""
        if ttl is None:
            return self
        ages = pc.subtract(moments.cast(pa.int64()), self.event_times.cast(pa.int64()))
        too_old = pc.fill_null(pc.greater(ages, ttl // timedelta(microseconds=1)), False)
        return Known(
            values={
                name: pc.if_else(too_old, pa.scalar(None, values.type), values) for name, values in self.values.items()
            },
            statuses=pc.if_else(too_old, OUTSIDE_MAX_AGE, self.statuses),
            event_times=self.event_times,
        )

    def answer(self, feature: str, default: pa.Scalar | None) -> FeatureValues:
        """One feature, with its default for nulls, and the status that it has online."""
        values = self.values[feature]
        found = pc.is_in(self.statuses, pa.array([PRESENT, NULL_VALUE]))
        own = pc.if_else(pc.is_null(values), NULL_VALUE, PRESENT)
        return FeatureValues(self.filled(feature, default), pc.if_else(found, own, self.online_statuses))

    @property
    def online_statuses(self) -> pa.Array:
        """The statuses of the view as online, where there is no history: what is not yet known is not found."""
        return pc.if_else(pc.equal(self.statuses, NOT_YET_KNOWN), NOT_FOUND, self.statuses)

    def filled(self, feature: str, default: pa.Scalar | None) -> pa.Array:
        """The values of a feature with its default for nulls."""
        values = self.values[feature]
        return values if default is None else pc.coalesce(values, default)


class OfflineRule:
    """Asks the rule of a project and of one state of its warehouse."""

    def __init__(self, workspace: Workspace, warehouse: DuckDBWarehouse) -> None:
        self._workspace, self.registry = workspace, workspace.registry
        self._histories = Histories(warehouse, workspace.macros)
        self._defaults: dict[str, dict[str, pa.Scalar]] = {}

    def keys(self, view: FeatureView, sample: int | None) -> pa.Table:
        """Return the keys of a view's history in order, or so many of them, chosen by chance."""
        self._histories.prepare([view])
        history = self._histories.staged(view)
        statement = self._workspace.macros.text("_keys_statement", view=view.name, sample=sample, history=history)
        what = f"the keys of the feature view '{view.name}' cannot be read"
        return self._histories.warehouse.table(statement, what)

    def forget(self, view: FeatureView) -> None:
        """Give back the memory of a view that is not asked for again."""
        self._histories.forget(view)

    def ask(self, view: FeatureView, features: Sequence[str], keys: Mapping[str, pa.Array], moments: pa.Array) -> Known:
        """What was known of features of a view; `keys` are by the view's own names."""
        table = self._build(view, features, keys, moments, defaults=False)
        return Known(
            values={feature: _whole(table[f"{view.name}__{feature}"]) for feature in features},
            statuses=_whole(table[f"{view.name}__status"]).cast(pa.string()),
            event_times=event_times(_whole(table[f"{view.name}__event_timestamp"])),
        )

    def default(self, view: FeatureView, feature: str, keys: Mapping[str, pa.DataType]) -> pa.Scalar | None:
        """Return what stands for a null of a feature; None if nothing does. `keys` are the types of the view's."""
        if view.name not in self._defaults:
            declared = [each.name for each in view.features if each.default is not None]
            found = self._defaults[view.name] = {}
            if declared:
                # Those of a key which is null, the rule says itself.
                nulls = {name: pa.nulls(1, kind) for name, kind in keys.items()}
                table = self._build(view, declared, nulls, pa.nulls(1, _TIME), defaults=True)
                found |= {name: table[f"{view.name}__{name}"][0] for name in declared}
        return self._defaults[view.name].get(feature)

    def _build(
        self,
        view: FeatureView,
        features: Sequence[str],
        keys: Mapping[str, pa.Array],
        moments: pa.Array,
        *,
        defaults: bool,
    ) -> pa.Table:
        request = TrainingRequest(
            pa.table({**keys, _SPINE_TIME: moments}),
            (Request(view.name, tuple(features), view.name),),
            event_timestamp=_SPINE_TIME,
            full_feature_names=True,
            provenance=True,
            defaults=defaults,
            # As the store was filled: the last digits of floats depend on the plan.
            window_plan="stacked" if view.aggregations else None,
        )
        return TrainingBuild(self._workspace, request).run_beside_others(self._histories).to_arrow()

    def computed(self, request: OnDemandRequest, roles: Sequence[Request], defaults: bool) -> Expressions:
        """What computes an on-demand feature; `roles` have the features that it takes."""
        statement = self._workspace.macros.text(
            "_on_demand_statement",
            features=[*(role.as_macro_argument() for role in roles), request.as_macro_argument()],
            relation=ARGUMENTS,
            options={"full_feature_names": True, "defaults": defaults, "tried": True},
        )
        return Expressions(statement, {})


def compute(expressions: Expressions, name: str, arguments: Mapping[str, pa.Array], rows: int) -> FeatureValues:
    """An on-demand feature of arguments.

    Raises:
        ComputeError: if the arguments are of types that it does not take.
    """
    # One that takes no arguments has rows all the same.
    found = expressions.many(pa.table({**arguments, _ROW: pa.nulls(rows, pa.int64())}))
    values, failed = untried(found[name])
    return FeatureValues(
        values, pc.if_else(failed, COMPUTE_FAILED, pc.if_else(pc.is_null(values), NULL_VALUE, PRESENT))
    )


def same(one: pa.Array, other: pa.Array, tolerance: float | None = None) -> pa.Array:
    """For each row whether two columns of one type have the same value; nulls are, and NaNs.

    With a tolerance floats may differ by it, relative or absolute, as for `math.isclose`.
    """
    both_null = pc.and_(pc.is_null(one), pc.is_null(other))
    if pa.types.is_list(one.type):
        return pc.or_(both_null, _same_lists(one, other, tolerance))
    equal = pc.fill_null(pc.equal(one, other), False)
    if pa.types.is_floating(one.type):
        equal = pc.or_(equal, pc.and_(*(pc.fill_null(pc.is_nan(each), False) for each in (one, other))))
        if tolerance:
            equal = pc.or_(
                equal, pc.fill_null(_close(one.cast(pa.float64()), other.cast(pa.float64()), tolerance), False)
            )
    return pc.or_(both_null, equal)


def same_values(one: pa.Array, other: pa.Array, tolerance: float | None = None) -> pa.Array:
    """Compare as `same` does, columns of any types: of numbers and texts their widths do not tell two values apart."""
    if one.type != other.type:
        wide, also = _widest(one.type), _widest(other.type)
        if wide != also:
            return pc.and_(pc.is_null(one), pc.is_null(other))
        one, other = one.cast(wide), other.cast(wide)
    return same(one, other, tolerance)


def _widest(kind: pa.DataType) -> pa.DataType:
    """Return the type that holds every value of the types that differ from one only in their width."""
    if pa.types.is_list(kind):
        return pa.list_(_widest(kind.value_type))
    if pa.types.is_timestamp(kind):
        return kind if kind.unit == "ns" else pa.timestamp("us", kind.tz)
    for are_like_it, wide in (
        (pa.types.is_integer, pa.decimal128(20, 0)),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_decimal, pa.decimal256(76, 38)),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_large_binary, pa.binary()),
    ):
        if are_like_it(kind):
            return wide
    return kind


def _close(one: pa.Array, other: pa.Array, tolerance: float) -> pa.Array:
    largest = pc.max_element_wise(pc.abs(one), pc.abs(other), 1.0, skip_nulls=False)
    near = pc.less_equal(pc.abs(pc.subtract(one, other)), pc.multiply(largest, tolerance))
    return pc.and_(near, pc.and_(pc.is_finite(one), pc.is_finite(other)))


def _same_lists(one: pa.Array, other: pa.Array, tolerance: float | None) -> pa.Array:
    alike = pc.fill_null(pc.equal(pc.list_value_length(one), pc.list_value_length(other)), False)
    rows = pc.indices_nonzero(alike)
    one, other = one.take(rows), other.take(rows)
    elements = same(pc.list_flatten(one), pc.list_flatten(other), tolerance)
    wrong = pc.list_parent_indices(one).filter(pc.invert(elements))
    numbers = pa.array(range(len(rows)), pa.int64())
    right = rows.filter(pc.invert(pc.is_in(numbers, wrong.cast(pa.int64()))))
    return pc.is_in(pa.array(range(len(alike)), pa.uint64()), right)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found
