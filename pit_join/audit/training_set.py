"""The audit of a training set: built again by the rule, compared column by column, and its differences explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from pit_join.audit.auc import auc
from pit_join.audit.audited_file import AuditedFile, microseconds
from pit_join.audit.causes import MOST_ROWS, RoleTrials, SampledColumn, Trial, causes_of, lacks_value
from pit_join.audit.columns import MappedColumn, MappedColumns, map_columns
from pit_join.audit.file_values import FileValues, as_numbers
from pit_join.audit.findings import AuditedColumn, AuditExample, Cause, FilledNulls, TrainingSetAudit
from pit_join.audit.moments import NO_MOMENT, Times
from pit_join.audit.suspects import ColumnCodes, Suspects, neighbours
from pit_join.definitions.field_type import FieldType, read_type
from pit_join.errors import SpineError
from pit_join.references import OnDemandRequest, Request, RequestItem, default_alias, parse_reference
from pit_join.times import gap_text, parse_duration
from pit_join.training.build import TrainingBuild
from pit_join.training.gather import row_numbers
from pit_join.training.request import TrainingRequest
from pit_join.training.result import TrainingSet
from pit_join.workspace import Histories, Workspace

__all__ = ["AuditRequest", "audit_training_set"]

_MOST_EXAMPLES = 3
_EQUAL_ROWS = 2_000  # rows without a difference, which a cause must explain, too
_FILLED = 0.9
_RARE = 0.1  # of the values: a constant that is frequent is a usual filling
_TIME = "_pit_join_time"


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """The knowledge of a training set's file that its columns do not tell.

    Attributes:
        event_timestamp: the column with the time T of each row.
        time_zone: the time zone of naive times and dates, UTC by default.
        gap: the gap with which the set was built.
        features: the features that the set was built with; None to look for those of all views.
        roles: views in other roles, or with keys of other names.
        full_feature_names: whether the features asked for are named `view__feature`.
        columns: references by the names of columns that are named otherwise.
        label: the column with the label.
        tolerance: the most that floats may differ, relative to themselves, besides the precision of the file.
    """

    event_timestamp: str
    time_zone: str | None = None
    gap: str | timedelta | None = None
    features: tuple[RequestItem, ...] | None = None
    roles: tuple[Request, ...] = ()
    full_feature_names: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    tolerance: float = 1e-9


def audit_training_set(workspace: Workspace, file: AuditedFile, request: AuditRequest) -> TrainingSetAudit:
    """Compare a training set with the rule.

    Raises:
        PitJoinError: see its subclasses; bad files, columns, references and projects.
    """
    return _Audit(workspace, file, request).run()


class _Audit:
    def __init__(self, workspace: Workspace, file: AuditedFile, request: AuditRequest) -> None:
        self._workspace, self._file, self._request = workspace, file, request
        self._time = file.name(request.event_timestamp)
        self._label = None if request.label is None else file.name(request.label)
        gap = gap_text(request.gap)
        self._gap = parse_duration(gap) // timedelta(microseconds=1) if gap else 0
        self._mapped: MappedColumns = map_columns(
            [name for name in file.table.column_names if name not in (self._time, self._label)],
            workspace.registry,
            workspace.macros,
            request.features,
            roles=request.roles,
            full_feature_names=request.full_feature_names,
            renamed=request.columns,
        )
        self._roles = {each.alias: each for each in self._mapped.requests if isinstance(each, Request)}

    def run(self) -> TrainingSetAudit:
        with self._workspace.warehouse() as warehouse:
            histories = Histories(warehouse, self._workspace)
            spine = self._file.spine(warehouse, self._types(), self._time, self._request.time_zone)
            try:
                built = self._rebuilt(histories, spine) if self._mapped.requests else None
            except SpineError as error:
                named = str(error).replace("the spine given in memory", f"the training set {self._file.path}")
                raise SpineError(named) from error
            columns = self._compared(histories, spine, built) if built else ()
            suspects = self._suspects(histories, spine)
        return TrainingSetAudit(
            path=str(self._file.path),
            rows=self._file.rows,
            event_timestamp=self._time,
            columns=tuple(columns),
            statuses={met.alias: dict(met.statuses) for met in built.coverage} if built else {},
            suspects=tuple(suspects.found),
            unknown=suspects.unknown,
            missing=tuple(self._mapped.missing),
            left_out=self._mapped.left_out,
            hints=tuple(f"{met.alias}: {hint}" for met in built.coverage for hint in met.hints) if built else (),
            label=self._label,
            assumed_utc=self._file.naive and self._request.time_zone is None,
        )

    def _types(self) -> dict[str, FieldType]:
        """Return the types of the columns that the build needs: keys, and arguments of on-demand features."""
        types: dict[str, FieldType] = {}
        for role in self._roles.values():
            view = self._workspace.registry.view(role.view)
            types |= {role.join_keys.get(key, key): kind for key, kind in view.key_types.items()}
        for each in self._mapped.requests:
            if not isinstance(each, OnDemandRequest):
                continue
            for argument, source in each.sources().items():
                if parse_reference(source) is None:
                    types.setdefault(source, read_type(each.types[argument]))
        return types

    def _rebuilt(self, histories: Histories, spine: pa.Table) -> TrainingSet:
        request = TrainingRequest(
            spine,
            self._mapped.requests,
            event_timestamp=self._time,
            gap=gap_text(self._request.gap),
            full_feature_names=True,
            # An on-demand feature is computed of values with their defaults.
            defaults=any(isinstance(each, OnDemandRequest) for each in self._mapped.requests),
        )
        return TrainingBuild(self._workspace, request).run_beside_others(histories)

    def _compared(self, histories: Histories, spine: pa.Table, built: TrainingSet) -> list[AuditedColumn]:
        found, differing = {}, {}
        for one in self._mapped.columns:
            found[one.name], apart = self._compare(one, spine, built.features[one.name].combine_chunks())
            if apart is not None:
                differing[one.name] = apart
        for alias, request in self._roles.items():
            columns = [
                (one, differing[one.name])
                for one in self._mapped.columns
                if one.alias == alias and one.name in differing
            ]
            if columns and not self._workspace.registry.view(request.view).static:
                for name, causes in self._causes(histories, spine, built, request, columns).items():
                    found[name] = replace(found[name], causes=causes)
        for name, trouble in differing.items():
            # Only then: values of a later time may be in the same order, too, or the same in all rows without history.
            if trouble.otherwise and not found[name].is_explained:
                found[name] = trouble.otherwise
        return [found[one.name] for one in self._mapped.columns]

    def _compare(
        self, one: MappedColumn, spine: pa.Table, expected: pa.Array
    ) -> tuple[AuditedColumn, _Differences | None]:
        """Compare a column, and return its differences as long as they have no cause."""
        values = FileValues(self._file.table[one.column], expected.type, self._request.tolerance)
        audited = AuditedColumn(one.column, one.reference, self._file.rows, precision=values.precision)
        if values.problem:
            return replace(audited, problem=values.problem), None
        equal, unknown, otherwise = values.equal(expected), lacks_value(expected), None
        if self._counts(one):  # other tools have a null where there is no event
            equal |= values.missing() & (as_numbers(expected) == 0)
        substitute = np.zeros(len(equal), bool)
        rows = np.flatnonzero(~equal & unknown)
        if len(rows):
            constant, alike = values.most_frequent(rows)
            substitute = values.alike(constant) & unknown
            if alike.sum() >= _FILLED * unknown.sum() and alike.sum() > 1:
                equal[rows[alike]] = True
                filled = replace(audited, filled=FilledNulls(constant, int(alike.sum())))
                usual = (values.alike(constant) & ~unknown).sum() / max(1, (~unknown).sum())
                if equal.all() and 0 < usual <= _RARE:  # of one entity the first value of all, which was filled in
                    equal[rows[alike]], substitute, otherwise = False, np.zeros(len(equal), bool), filled
                else:
                    audited = filled
        differing = ~equal
        if not differing.any():
            return audited, None
        if values.missing().all():
            return replace(audited, problem=f"it is empty, and the rule has {int(differing.sum()):,} values"), None
        if otherwise is None and values.in_order_of(expected, equal):
            otherwise = replace(audited, precision="on another scale, in the same order")
        audited = replace(
            audited,
            differing=int(differing.sum()),
            examples=tuple(self._examples(one, spine, values, expected, differing)),
            auc=self._auc(values, expected),
        )
        return audited, _Differences(values, differing, substitute, otherwise)

    def _counts(self, one: MappedColumn) -> bool:
        """Return whether a feature counts events, so that it is 0 without any."""
        aggregations = self._workspace.registry.view(self._roles[one.alias].view).aggregations if one.alias else ()
        return any(each.name == one.feature and each.counts for each in aggregations)

    def _auc(self, values: FileValues, expected: pa.Array) -> tuple[float, float] | None:
        own = values.numbers()
        if self._label is None or own is None:
            return None
        label = self._file.table[self._label]
        with_leak, without = auc(own, label), auc(as_numbers(expected), label)
        return None if with_leak is None or without is None else (with_leak, without)

    def _examples(
        self, one: MappedColumn, spine: pa.Table, values: FileValues, expected: pa.Array, differing: Any
    ) -> Iterator[AuditExample]:
        times = spine[self._time]
        keys = self._keys(spine, one.alias)
        for row in np.flatnonzero(differing)[:_MOST_EXAMPLES].tolist():
            yield AuditExample(
                row=row + 1,
                time=times[row].cast(pa.int64()).as_py(),
                keys={name: keys[name][row].as_py() for name in keys.column_names},
                value=values.shown(row),
                expected=expected[row].as_py(),
            )

    def _keys(self, spine: pa.Table, alias: str | None) -> pa.Table:
        if alias is None:
            return spine.select([])
        request = self._roles[alias]
        keys = self._workspace.registry.view(request.view).join_keys
        return spine.select([self._file.name(request.join_keys.get(key, key)) for key in keys])

    def _causes(
        self,
        histories: Histories,
        spine: pa.Table,
        built: TrainingSet,
        request: Request,
        columns: Sequence[tuple[MappedColumn, _Differences]],
    ) -> dict[str, tuple[Cause, ...]]:
        """Return the causes of the differences of the columns of a role, by their full names."""
        keys, times = self._keys(spine, request.alias), microseconds(spine[self._time].combine_chunks())
        rows = _sample(keys, times, [found.differing for _, found in columns])
        times = times - self._gap
        sampled = {
            one.name: SampledColumn(one.feature, found.values, rows, found.differing[rows], found.substitute[rows])
            for one, found in columns
        }
        trials = RoleTrials(
            self._workspace,
            histories,
            replace(request, features=tuple(one.feature for one, _ in columns)),
            keys.take(row_numbers(rows)),
            times[rows],
            list(sampled.values()),
        )
        answers = {one.feature: built.features[one.name] for one, _ in columns}
        codes = ColumnCodes(keys)
        following, _ = neighbours([codes[name] for name in keys.column_names], times)
        in_file = {f"next row of the same {' and '.join(keys.column_names)} in the file": following[rows]}
        tried = [*trials.trials(self._request.time_zone, self._gap), *_other_rows(answers, rows, in_file)]
        return {name: causes_of(column, tried) for name, column in sampled.items()}

    def _suspects(self, histories: Histories, spine: pa.Table) -> Suspects:
        """Look at the columns that the project does not have."""
        suspects = Suspects(self._file.table, self._unknown(), self._label, self._request.tolerance)
        if not suspects.unknown:
            return suspects
        suspects.compare_with_label(self._time)
        times = microseconds(spine[self._time].combine_chunks())
        registry, names = self._workspace.registry, set(self._file.table.column_names)
        views = [view for view in registry.views.values() if view.join_keys and names.issuperset(view.join_keys)]
        for keys in dict.fromkeys(view.join_keys for view in views):
            suspects.compare_with_later_rows(keys, times)
        for view in views:
            typed = self._file.spine(histories.warehouse, view.key_types, self._time, self._request.time_zone)
            keys, features = typed.select(view.join_keys), [feature.name for feature in view.features]
            rows = _sample(keys, times, [np.zeros(len(times), bool)])
            request = Request(view.name, tuple(features), default_alias(view.name))
            trials = RoleTrials(
                self._workspace, histories, request, keys.take(row_numbers(rows)), times[rows] - self._gap
            )
            suspects.compare_with_features(trials, request.owner, features, rows)
        suspects.hint_at_auc()
        return suspects

    def _unknown(self) -> list[str]:
        """Return the columns beside features, keys, the time and the label."""
        known = {one.column for one in self._mapped.columns} | {self._time, self._label}
        known |= {self._file.name(name) for name in self._types()}
        known |= {f"{alias}__{what}" for alias in self._roles for what in ("event_timestamp", "status")}
        known |= {key for view in self._workspace.registry.views.values() for key in view.join_keys}
        return [name for name in self._file.table.column_names if name not in known]


@dataclass(frozen=True, slots=True)
class _Differences:
    """A column's values, the rows in which they differ, and those with the constant that may stand for a null.

    `otherwise` is the verdict if nothing explains the differences: that the column is on another scale, or filled.
    """

    values: FileValues
    differing: Any
    substitute: Any
    otherwise: AuditedColumn | None


def _sample(keys: pa.Table, times: Times, differing: Sequence[Any]) -> Any:
    """Return the rows on which causes are tried, in order: some of each column's differences, and some others."""
    usable = times != NO_MOMENT
    for column in keys.columns:
        usable &= ~lacks_value(column.combine_chunks())
    chosen = np.zeros(len(times), bool)
    for flags in differing:
        rows = np.flatnonzero(flags & usable)
        chosen[rows[:: max(1, -(-len(rows) * len(differing) // MOST_ROWS))]] = True
    equal = np.flatnonzero(usable & ~np.any(differing, axis=0))
    chosen[equal[:: max(1, len(equal) // _EQUAL_ROWS)]] = True
    return np.flatnonzero(chosen)


def _other_rows(answers: Mapping[str, pa.ChunkedArray], rows: Any, following: Mapping[str, Any]) -> Iterator[Trial]:
    """Yield the values of other rows of the file, as a join by position may have put them.

    `following` has, by its description, the later row that each of the rows takes, -1 for none.
    """
    size = max((len(column) for column in answers.values()), default=0)
    by_place = {"next row of the file": rows + 1, "row before in the file": rows - 1}
    for text, moved in (*following.items(), *by_place.items()):
        indices = pa.array(moved, mask=(moved < 0) | (moved >= size))
        taken = {name: column.take(indices).combine_chunks() for name, column in answers.items()}
        yield Trial(f"equals the value of the {text}", text in following, taken)
