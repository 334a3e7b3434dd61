"""The offline rule, asked for single roles at any instants.

`training` chooses the rows of history, as for a training set; this module only asks, and fits answers to online ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError
from pit_join.records.arrow import event_times
from pit_join.references import OnDemandRequest, Request
from pit_join.statuses import COMPUTE_FAILED, NOT_FOUND, NOT_YET_KNOWN, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from pit_join.training.build import TrainingBuild
from pit_join.training.request import TrainingRequest
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import ARGUMENTS, Expressions, untried
from pit_join.workspace import Histories, Workspace

__all__ = ["FeatureValues", "Known", "OfflineRule", "compute"]

_SPINE_TIME = "pit_join_instant"
_ROW = "pit_join_row"
_EVERY_ROW = "pit_join_every_row"
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class FeatureValues:
    """The values of a feature, one a row, and its statuses as a reader of the online store returns them."""

    values: pa.Array
    statuses: pa.Array

    def filter(self, mask: pa.Array) -> FeatureValues:
        """Return the rows for which the mask is true."""
        return FeatureValues(self.values.filter(mask), self.statuses.filter(mask))


@dataclass(frozen=True, slots=True)
class Known:
    """The rows of one role that were known: values before defaults by feature, statuses, and event times.

    Statuses are those of the view. Event times include those of rows that were found but are too old.
    """

    values: Mapping[str, pa.Array]
    statuses: pa.Array
    event_times: pa.Array

    def aged(self, ttl: timedelta | None, moments: pa.Array) -> Known:
        """Return the same rows, with ages judged at later instants."""
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
        """Return one feature, with its default for nulls and its status online."""
        values = self.values[feature]
        found = pc.is_in(self.statuses, pa.array([PRESENT, NULL_VALUE]))
        own = pc.if_else(pc.is_null(values), NULL_VALUE, PRESENT)
        return FeatureValues(self.filled(feature, default), pc.if_else(found, own, self.online_statuses))

    @property
    def online_statuses(self) -> pa.Array:
        """The statuses of the view online, where no history is stored and NOT_YET_KNOWN is NOT_FOUND."""
        return pc.if_else(pc.equal(self.statuses, NOT_YET_KNOWN), NOT_FOUND, self.statuses)

    def filled(self, feature: str, default: pa.Scalar | None) -> pa.Array:
        """Return the values of a feature with its default for nulls."""
        values = self.values[feature]
        return values if default is None else pc.coalesce(values, default)


class OfflineRule:
    """The rule of a project, asked in one state of its warehouse."""

    def __init__(self, workspace: Workspace, warehouse: DuckDBWarehouse) -> None:
        self._workspace, self.registry = workspace, workspace.registry
        self.histories = Histories(warehouse, workspace)
        self._defaults: dict[str, dict[str, pa.Scalar | PitJoinError]] = {}

    def check(self, views: Iterable[FeatureView]) -> None:
        """Check the tables of all views, so that all problems are shown at once."""
        self.histories.check(views)

    def keys(self, view: FeatureView, sample: int | None) -> pa.Table:
        """Return the keys of a view's history in order, or `sample` of them at random.

        For a view without keys it is one row, of a column that no view has: Arrow counts no rows without columns.
        """
        if not view.join_keys:
            return pa.table({_EVERY_ROW: [True]})
        self.histories.prepare([view])
        history = self.histories.staged(view)
        statement = self._workspace.view_macros.text("_keys_statement", view=view.name, sample=sample, history=history)
        what = f"the keys of the feature view '{view.name}' cannot be read"
        return self.histories.session.table_later([statement], what).result()

    def forget(self, view: FeatureView) -> None:
        """Free the memory of a view that is not asked for again."""
        self.histories.forget(view)

    def ask(self, view: FeatureView, features: Sequence[str], keys: Mapping[str, pa.Array], moments: pa.Array) -> Known:
        """Return the known rows of a view; `keys` are named as the view names them."""
        table = self._build(view, features, keys, moments, defaults=False)
        return Known(
            values={feature: _whole(table[f"{view.name}__{feature}"]) for feature in features},
            statuses=_whole(table[f"{view.name}__status"]).cast(pa.string()),
            event_times=event_times(_whole(table[f"{view.name}__event_timestamp"])),
        )

    def default(self, view: FeatureView, feature: str, keys: Mapping[str, pa.DataType]) -> pa.Scalar | None:
        """Return the default of a feature, or None. `keys` are the types of the view's keys.

        Raises:
            PitJoinError: if it cannot be computed.
        """
        if view.name not in self._defaults:
            declared = [each.name for each in view.features if each.default is not None]
            self._defaults[view.name] = self._declared(view, declared, keys)
        found = self._defaults[view.name].get(feature)
        if isinstance(found, PitJoinError):
            raise found
        return found

    def _declared(
        self, view: FeatureView, features: Sequence[str], keys: Mapping[str, pa.DataType]
    ) -> dict[str, pa.Scalar | PitJoinError]:
        """Return the defaults of features, computed together; in place of a default that fails, its error.

        Halving finds the features that fail.
        """
        if not features:
            return {}
        # The rule itself returns the defaults: those of a null key.
        nulls = {name: pa.nulls(1, kind) for name, kind in keys.items()}
        try:
            table = self._build(view, features, nulls, pa.nulls(1, _TIME), defaults=True)
        except PitJoinError as error:
            if len(features) == 1:
                return {features[0]: error}
            half = len(features) // 2
            return self._declared(view, features[:half], keys) | self._declared(view, features[half:], keys)
        return {name: table[f"{view.name}__{name}"][0] for name in features}

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
            # The plan that filled the store.
            window_plan="stacked" if view.aggregations else None,
        )
        try:
            # Committed before anything is asked: an error undoes no copy, and no file is read twice.
            self.histories.stage([view])
            self.histories.clear()
            return TrainingBuild(self._workspace, request).run_beside_others(self.histories).to_arrow()
        except PitJoinError:
            self.histories.begin_anew()
            raise

    def computed(self, request: OnDemandRequest, roles: Sequence[Request], defaults: bool) -> Expressions:
        """Return the expressions of an on-demand feature; `roles` have the features that it takes."""
        statement = self._workspace.macros.text(
            "_on_demand_statement",
            features=[*(role.as_macro_argument() for role in roles), request.as_macro_argument()],
            relation=ARGUMENTS,
            options={"full_feature_names": True, "defaults": defaults, "tried": True},
        )
        return Expressions(statement, {})


def compute(expressions: Expressions, name: str, arguments: Mapping[str, pa.Array], rows: int) -> FeatureValues:
    """Compute an on-demand feature from its arguments.

    Raises:
        ComputeError: if the feature does not take arguments of these types.
    """
    # A feature without arguments has rows all the same.
    found = expressions.many(pa.table({**arguments, _ROW: pa.nulls(rows, pa.int64())}))
    values, failed = untried(found[name])
    return FeatureValues(
        values, pc.if_else(failed, COMPUTE_FAILED, pc.if_else(pc.is_null(values), NULL_VALUE, PRESENT))
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole
