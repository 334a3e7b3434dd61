"""Skew: the served values in a feature log, compared with the offline rule at the time of serving.

Every logged row becomes a row of a spine. A value that differs from the rule at the time of serving but equals the rule
at the instant of the export was right once, and is stale; a value that equals neither is different. A static view has
no history, so a value of it that differs has changed since it was served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError
from pit_join.monitoring.findings import FeatureSkew, Findings, Skew
from pit_join.monitoring.log_reader import LogReader
from pit_join.monitoring.offline_rule import FeatureValues, Known, OfflineRule, compute
from pit_join.monitoring.results import ON_DEMAND
from pit_join.monitoring.sensitive import sensitive_names, sources_of
from pit_join.monitoring.served_rows import ServedRows
from pit_join.records.arrow import type_name
from pit_join.references import OnDemandRequest, Request, listed, parse_reference
from pit_join.statuses import FALLBACKS
from pit_join.training.equality import same
from pit_join.warehouse.expressions import Expressions
from pit_join.workspace import Workspace

__all__ = ["find_skew"]


def find_skew(
    workspace: Workspace,
    folder: Path,
    span: tuple[datetime | None, datetime | None] = (None, None),
    service: str | None = None,
    tolerance: float = 1e-9,
) -> Skew:
    """Compare the rows of a feature log with the offline rule, a bounded number at a time.

    Args:
        workspace: the project whose warehouse has the history.
        folder: the feature log.
        span: compare only rows served from an instant on, and before another; None is unbounded.
        service: compare only rows of this feature service.
        tolerance: the allowed relative difference of floats that windows add up; all else must be equal.

    Raises:
        PitJoinError: if the folder, the project or its warehouse cannot be read.
    """
    log = LogReader(folder, span, service)
    found = Findings(workspace.registry, workspace.name)
    if not log.rows:
        return found.result(0, log.unread)
    done = rows = 0
    with workspace.warehouse() as warehouse:
        rule = OfflineRule(workspace, warehouse)
        rule.check(rule.registry.views[name] for name in sorted(log.views & rule.registry.views.keys()))
        for about, table, of_rows in log.chunks():
            workspace.console.progress(done, log.rows, about["service"] or "")
            if table.num_rows:
                found.note_source(about, table.num_rows)
                _Comparison(rule, ServedRows(about, table), tolerance, found).run()
            done, rows = done + of_rows, rows + table.num_rows
    workspace.console.progress(log.rows, log.rows, "")
    return found.result(rows, log.unread)


@dataclass(frozen=True, slots=True)
class _Role:
    """A role to ask for: its view, its keys by the view's names, and the features needed."""

    view: FeatureView
    keys: Mapping[str, str]
    needed: list[str]


@dataclass(frozen=True, slots=True)
class _Feature:
    """A feature to compare: its counts and its sources.

    `sources` are (role, feature) by name: the feature itself, or the arguments of an on-demand feature, with None for a
    request field. `expressions` compute an on-demand feature.
    """

    counts: FeatureSkew
    sources: Mapping[str, tuple[str, str] | None]
    expressions: Expressions | None = None

    @property
    def roles(self) -> set[str]:
        """The roles of the feature's sources."""
        return {source[0] for source in self.sources.values() if source}


class _Comparison:
    """The comparison of rows of one schema with the rule."""

    def __init__(self, rule: OfflineRule, rows: ServedRows, tolerance: float, found: Findings) -> None:
        self._rule, self._rows, self._about, self._found = rule, rows, rows.about, found
        self._tolerance, self._sensitive = tolerance, sensitive_names(rule.registry, rows.about)
        self._roles: dict[str, _Role] = {}
        self._keyless: set[str] = set()
        self._features: dict[str, _Feature] = {}
        for alias, spec in self._about["roles"].items():
            why = self._why_not(spec)
            if unlogged := sorted(self._sensitive.unlogged.keys.intersection(spec["keys"].values())):
                self._keyless.add(alias)
                why = f"{spec['view']} is not compared: its key {listed(unlogged)} is sensitive, and not in the log"
            if why:
                found.change(why, len(rows))
            else:
                self._roles[alias] = _Role(rule.registry.views[spec["view"]], spec["keys"], [])
        requests = {item["as"]: item for item in self._about["references"] if "on_demand" in item}
        for spec in self._about["features"]:
            item = requests.get(spec["name"])
            if item is None:
                place = self._about["roles"][spec["role"]]["view"], spec["role"], spec["feature"]
                roles = {spec["role"]}
            else:
                place = ON_DEMAND, spec["name"], spec["on_demand"]
                roles = {source[0] for source in sources_of(item).values() if source}
            counts = found.feature(*place)
            if not self._keyless.isdisjoint(roles) or spec["name"] in self._sensitive.unlogged.features:
                self._withhold(counts, said=not self._keyless.isdisjoint(roles))
            elif item is None:
                self._add_stored(spec, counts)
            else:
                self._add_computed(spec, item, counts)

    # The features that can be compared -------------------------------------------------------------------------

    def _why_not(self, spec: Mapping[str, Any]) -> str | None:
        """Return the reason why the project as it is now cannot be asked for a role, or None."""
        view = self._rule.registry.views.get(spec["view"])
        if view is None:
            return f"the feature view '{spec['view']}' is no longer in the project"
        types = {key: _family(self._about["keys"][name]) for key, name in spec["keys"].items()}
        if types != {key: kind.family for key, kind in view.key_types.items()}:
            return f"the feature view '{view.name}' has other keys than the logged rows"
        return None

    def _has(self, alias: str, feature: str) -> bool:
        role = self._roles.get(alias)
        return role is not None and feature in {each.name for each in role.view.features}

    def _withhold(self, counts: FeatureSkew, *, said: bool) -> None:
        """Leave out a feature whose values, or whose keys, are sensitive and not in the log."""
        counts.sensitive = True
        why = f"{_label(counts)} is not compared: its values are sensitive, and not in the log"
        self._leave_out(counts, None if said else why)

    def _add_stored(self, spec: Mapping[str, Any], counts: FeatureSkew) -> None:
        alias, feature = spec["role"], spec["feature"]
        if self._has(alias, feature):
            self._need(alias, feature)
            self._features[spec["name"]] = _Feature(counts, {feature: (alias, feature)})
        else:
            gone = f"the feature {counts.view}:{feature} is no longer in the project" if alias in self._roles else None
            self._leave_out(counts, gone)

    def _add_computed(self, spec: Mapping[str, Any], item: Mapping[str, Any], counts: FeatureSkew) -> None:
        macro, name = spec["on_demand"], spec["name"]
        declared = self._rule.registry.on_demand.get(macro)
        if declared is None:
            self._leave_out(counts, f"the on-demand feature '{macro}' is no longer in the project")
            return
        arguments = {name: source for name, source in item["arguments"].items() if name in declared.types}
        request = OnDemandRequest(macro, name, arguments, declared.types, declared.returns, declared.default)
        sources = {source: parse_reference(source) for source in request.sources().values()}
        for source, reference in sources.items():
            if not (self._has(*reference) if reference else source in self._about["fields"]):
                lacks = "the project no longer has" if reference else "was not logged"
                self._leave_out(counts, f"the on-demand feature '{macro}' takes {source}, which {lacks}")
                return
        taken: dict[str, list[str]] = {}
        for alias, feature in filter(None, sources.values()):
            taken.setdefault(alias, []).append(feature)
            self._need(alias, feature)
        roles = [Request(self._roles[alias].view.name, tuple(names), alias) for alias, names in taken.items()]
        expressions = self._rule.computed(request, roles, self._about["defaults"])
        named = {":".join(found) if found else source: found for source, found in sources.items()}
        self._features[name] = _Feature(counts, named, expressions)

    def _need(self, alias: str, feature: str) -> None:
        if feature not in self._roles[alias].needed:
            self._roles[alias].needed.append(feature)

    def _leave_out(self, counts: FeatureSkew, why: str | None) -> None:
        counts.rows += len(self._rows)
        counts.not_compared += len(self._rows)
        if why:
            self._found.change(why, len(self._rows))

    # The rule --------------------------------------------------------------------------------------------------

    def _ask(self, rows: ServedRows, moments: Callable[[str], pa.Array]) -> dict[str, Known]:
        """Return the known rows of all roles, each at the instants that `moments` returns for the role."""
        return {
            alias: self._rule.ask(role.view, role.needed, self._keys(role, rows), moments(alias))
            for alias, role in self._roles.items()
            if role.needed
        }

    def _keys(self, role: _Role, rows: ServedRows) -> dict[str, pa.Array]:
        return {key: rows.column("keys", name) for key, name in role.keys.items()}

    def _default(self, alias: str, feature: str) -> pa.Scalar | None:
        if not self._about["defaults"]:
            return None
        role = self._roles[alias]
        types = {key: column.type for key, column in self._keys(role, self._rows).items()}
        return self._rule.default(role.view, feature, types)

    def _answer(self, feature: _Feature, rows: ServedRows, known: Mapping[str, Known]) -> FeatureValues:
        """Return the expected values of a feature, from the known rows of its roles."""
        if feature.expressions is None:
            ((alias, column),) = filter(None, feature.sources.values())
            return known[alias].answer(column, self._default(alias, column))
        arguments = {
            name: known[source[0]].filled(source[1], self._default(*source)) if source else rows.column("fields", name)
            for name, source in feature.sources.items()
        }
        return compute(feature.expressions, feature.counts.role, arguments, len(rows))

    # The comparison --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Ask the rule at the times of serving and, for rows that differ, at the instants of their exports."""
        rows, served_at = self._rows, self._rows.column("served_at")
        known = self._ask(rows, lambda alias: served_at)
        expected = dict(self._expected(known))
        wrong = {}
        for name, answer in expected.items():
            fallback = self._fell_back(name)
            fails = pc.and_not(pc.invert(self._equal(name, rows.answer(name), answer)), fallback)
            counts = self._features[name].counts
            counts.rows += len(rows)
            counts.fallback += _count(fallback)
            counts.match += len(rows) - _count(fallback) - _count(fails)
            wrong[name] = fails
        suspects = reduce(pc.or_, wrong.values()) if wrong else None
        if suspects is None or not _count(suspects):
            return
        some = rows.filter(suspects)
        then = self._ask(some, lambda alias: some.column("roles", alias, "exported_at"))
        then = {alias: each.aged(self._roles[alias].view.ttl, some.column("served_at")) for alias, each in then.items()}
        stale = {}
        for name, fails in wrong.items():
            fails = fails.filter(suspects)
            feature, served = self._features[name], some.answer(name)
            stale[name] = pc.and_(fails, self._equals_before(name, some, served, then))
            different = pc.and_not(fails, stale[name])
            feature.counts.stale += _count(stale[name])
            if any(self._roles[alias].view.static for alias in feature.roles):
                feature.counts.changed += _count(different)
                continue
            feature.counts.different += _count(different)
            if _count(different):
                known_then = expected[name].filter(suspects)
                self._found.examples(feature.counts, some.farthest(name, different, known_then, self._sensitive))
        self._count_stale(some, stale, known, then, suspects)

    def _expected(self, known: Mapping[str, Known]) -> Iterator[tuple[str, FeatureValues]]:
        """Yield the expected values of each feature; features that cannot be compared are left out."""
        for name, feature in list(self._features.items()):
            counts, served = feature.counts, self._rows.answer(name).values.type
            try:
                answer = self._answer(feature, self._rows, known)
            except PitJoinError as error:
                # The error of an expression may quote its arguments.
                why = "" if name in self._sensitive.features else f": {error}"
                self._leave_out(counts, f"{_label(counts)} cannot be computed{why}")
                continue
            if _logged_type(answer.values.type) != _logged_type(served):
                now = type_name(answer.values.type) or str(answer.values.type)
                self._leave_out(counts, f"{_label(counts)} is {now}, and was served as {type_name(served)}")
                continue
            yield name, FeatureValues(answer.values.cast(served), answer.statuses)

    def _equals_before(self, name: str, some: ServedRows, served: FeatureValues, then: Mapping[str, Known]) -> pa.Array:
        """Return for each row whether the served value is that of the rule at the instant of the export."""
        try:
            answer = self._answer(self._features[name], some, then)
        except PitJoinError:  # it could be computed online, so it was computed from other values than these
            return pa.array([False] * len(some))
        return self._equal(name, served, FeatureValues(answer.values.cast(served.values.type), answer.statuses))

    def _equal(self, name: str, served: FeatureValues, expected: FeatureValues) -> pa.Array:
        added = any(self._is_added_up(*source) for source in self._features[name].sources.values() if source)
        values = same(served.values, expected.values, self._tolerance if added else None)
        return pc.and_(values, pc.equal(served.statuses, expected.statuses))

    def _is_added_up(self, alias: str, feature: str) -> bool:
        """Whether a feature adds up values, so that its floats are rounded."""
        return any(one.name == feature and one.adds_up for one in self._roles[alias].view.aggregations)

    def _fell_back(self, name: str) -> pa.Array:
        """Return a mask of the rows in which a feature, or one it is computed from, is a fallback."""
        roles = self._features[name].roles
        names = {name} | {each["name"] for each in self._about["features"] if each.get("role") in roles}
        if self._features[name].expressions is None:
            names = {name}
        statuses = (self._rows.answer(each).statuses for each in names)
        return reduce(pc.or_, (pc.is_in(each, pa.array(FALLBACKS)) for each in statuses))

    def _count_stale(
        self,
        some: ServedRows,
        stale: Mapping[str, pa.Array],
        known: Mapping[str, Known],
        then: Mapping[str, Known],
        suspects: pa.Array,
    ) -> None:
        """Count for each view the rows with a stale feature of the view, or one computed from it."""
        for alias, role in self._roles.items():
            masks = []
            for name, mask in stale.items():
                feature = self._features[name]
                for source in filter(None, feature.sources.values()):
                    if source[0] != alias:
                        continue
                    moved = known[alias].values[source[1]].filter(suspects), then[alias].values[source[1]]
                    masks.append(mask if feature.expressions is None else pc.and_not(mask, same(*moved)))
            if masks:
                ages = pc.subtract(
                    some.column("served_at").cast(pa.int64()),
                    some.column("roles", alias, "exported_at").cast(pa.int64()),
                )
                self._found.stale(role.view.name, ages.filter(reduce(pc.or_, masks)))


def _label(counts: FeatureSkew) -> str:
    return (
        f"{counts.view}:{counts.feature}" if counts.view != ON_DEMAND else f"the on-demand feature '{counts.feature}'"
    )


def _logged_type(kind: pa.DataType) -> str:
    """Return the name of the type in which the log holds a type: Parquet has no seconds, and keeps milliseconds."""
    return (type_name(kind) or str(kind)).replace("timestamp[s", "timestamp[ms")


def _count(mask: pa.Array) -> int:
    return pc.sum(mask).as_py() or 0


def _family(kind: str) -> str:
    """Return the `FieldType.family` of a kind of key (see `keys.key_kind`)."""
    named = {"string": "text", "uuid": "UUID", "binary": "BLOB", "bool": "BOOLEAN"}
    return named.get(kind) or ("time" if kind.startswith(("date", "timestamp")) else "number")
