"""The findings of a comparison of a feature log with the offline rule: counts, examples, and ages of exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.registry import Registry
from pit_join.markup import bar, notebook, notes, table
from pit_join.monitoring.drift import Drift
from pit_join.monitoring.freshness import Freshness
from pit_join.monitoring.rates import Rates
from pit_join.monitoring.results import ON_DEMAND, Result
from pit_join.texts import age, shown

__all__ = [
    "FeatureSkew", "Findings", "Monitoring", "Skew", "SkewExample", "StaleView",
    "skew_table", "skew_totals",
]  # fmt: skip


_KINDS = ("match", "stale", "different", "changed", "fallback", "not_compared")
_MOST_EXAMPLES = 5
_MOST_AGES = 100_000


@dataclass(frozen=True, slots=True)
class SkewExample:
    """A served value, and the value of the offline rule at that time; None of both if they are sensitive.

    Sensitive keys are not among the keys.
    """

    keys: Mapping[str, Any]
    served_at: datetime
    served: Any
    served_status: str
    expected: Any
    expected_status: str
    service: str | None
    sensitive: bool = False


@dataclass(slots=True)
class FeatureSkew:
    """The comparison of one feature of a role with the rule, in rows; `view` is `on_demand` for on-demand features.

    `match`: equal to the rule at the serving time. `stale`: equal to the rule only at the instant of the export.
    `different`: equal to neither. `changed`: the same of a static view, or computed from one: the rule knows only its
    values of today, so they have changed since they were served. `fallback`: a store had failed, or was stale.
    `not_compared`: the project no longer has the feature, or has it as another type, or its values or keys are
    `sensitive` and not in the log. `examples` are different values, the farthest first.
    """

    view: str
    role: str
    feature: str
    rows: int = 0
    match: int = 0
    stale: int = 0
    different: int = 0
    changed: int = 0
    fallback: int = 0
    not_compared: int = 0
    examples: list[SkewExample] = field(default_factory=list)
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class StaleView:
    """A view with stale rows: their number, and the age of its export when they were served, in seconds.

    `short_by` is the greatest such age: with a gap of so many seconds a training set sees no row that serving did not
    have yet. `lag` is that of the view.
    """

    view: str
    rows: int
    lag: float
    age_p50: float
    age_p90: float
    short_by: float


@dataclass(frozen=True, slots=True)
class Skew:
    """The result of a comparison: the number of compared rows, the features, and the stale views.

    `changes` name what is gone from the project or left out as sensitive, `unread` the files that could
    not be read, `hints` the next steps.
    """

    rows: int
    features: tuple[FeatureSkew, ...]
    stale_views: tuple[StaleView, ...]
    changes: tuple[str, ...]
    unread: tuple[str, ...]
    hints: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether anything is stale or different."""
        return any(each.stale or each.different for each in self.features)

    @property
    def results(self) -> tuple[Result, ...]:
        """The stale and different rows of each feature, as a result."""
        return tuple(
            Result(
                check="skew",
                view=each.view if each.role in (each.view, each.feature) else f"{each.role} ({each.view})",
                feature=each.feature,
                value=float(each.stale + each.different),
                # What is sensitive is left alone for ever, and nobody shall be alarmed that it is not judged.
                bound=None if each.sensitive and each.not_compared == each.rows else 0.0,
                place="served",
                judged=each.not_compared < each.rows,
                over=bool(each.stale or each.different),
                breached=bool(each.stale or each.different),
                text=f"{each.stale:,} stale and {each.different:,} different of {each.rows:,} served rows"
                if each.stale or each.different
                else "",
            )
            for each in self.features
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values; the values of examples are texts."""
        features = [asdict(each) for each in self.features]
        for feature in features:
            for example in feature["examples"]:
                example["keys"] = {name: _text(value) for name, value in example["keys"].items()}
                example |= {what: _text(example[what]) for what in ("served", "expected")}
                example["served_at"] = example["served_at"].isoformat()
        return {
            "rows": self.rows,
            "features": features,
            "stale_views": [asdict(each) for each in self.stale_views],
            "changes": list(self.changes),
            "unread": list(self.unread),
            "hints": list(self.hints),
        }

    def __repr__(self) -> str:
        return f"<Skew: {skew_totals(self)}>"

    def _repr_html_(self) -> str:
        headings, rows, lines = skew_table(self)
        bars = [bar({_heading(kind): getattr(each, kind) for kind in _KINDS}) for each in self.features]
        drawn = [[view, name, shares, *counts] for (view, name, *counts), shares in zip(rows, bars, strict=True)]
        listed = table([*headings[:2], "", *headings[2:]], drawn, right=range(3, len(headings) + 1))
        return notebook(f"Skew: {skew_totals(self)}", listed, notes([*lines, *self.unread]))


def skew_table(skew: Skew) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the headings and rows of a table of features, and the lines that say what is wrong.

    The counts begin with the third column. Of the lines those that begin with blanks are examples.
    """
    always = ("match", "stale", "different")
    kinds = [kind for kind in _KINDS if kind in always or any(getattr(each, kind) for each in skew.features)]
    rows = [[*_name(each), *(f"{getattr(each, kind):,}" for kind in ("rows", *kinds))] for each in skew.features]
    lines = [
        f"{each.view}: {each.rows:,} rows are stale, from exports {age(each.age_p50)} old (p90 {age(each.age_p90)}); "
        f"export more often, or train with a gap of {age(each.short_by)}"
        for each in skew.stale_views
    ]
    lines += [f"  {_example_text(of, example)}" for of in skew.features for example in of.examples]
    return ["view", "feature", "rows", *map(_heading, kinds)], rows, [*lines, *skew.changes, *skew.hints]


def _heading(kind: str) -> str:
    return kind.replace("_", " ")


def _name(each: FeatureSkew) -> tuple[str, str]:
    """Return the view with its role, and the feature."""
    if each.view == ON_DEMAND:
        return each.view, each.role if each.role == each.feature else f"{each.role} ({each.feature})"
    return each.view if each.role == each.view else f"{each.role} ({each.view})", each.feature


def _example_text(of: FeatureSkew, example: SkewExample) -> str:
    view, name = _name(of)
    keys = "".join(f"{key}={value}, " for key, value in example.keys.items())
    told = (
        f"{shown(example.served)} ({example.served_status}), not {shown(example.expected)} ({example.expected_status})"
    )
    if example.sensitive:
        told = f"a sensitive value ({example.served_status}), not that of the rule ({example.expected_status})"
    return f"{view}:{name}, {keys}{example.served_at:%Y-%m-%d %H:%M:%S}: {told}"


def skew_totals(skew: Skew) -> str:
    """Return the counts of all features together, as a sentence."""
    totals = {kind: sum(getattr(each, kind) for each in skew.features) for kind in _KINDS[:4]}
    counts = ", ".join(f"{total:,} {kind}" for kind, total in totals.items() if total or kind != "changed")
    return f"{skew.rows:,} rows, {sum(each.rows for each in skew.features):,} values: {counts}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class Findings:
    """A collector of counts by feature and of ages of exports by view."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry, self._name = registry, name
        self._features: dict[tuple[str, str, str], FeatureSkew] = {}
        self._distances: dict[tuple[str, str, str], list[float]] = {}
        self._ages: dict[str, list[float]] = {}
        self._stale_rows: dict[str, int] = {}
        self._oldest: dict[str, float] = {}
        self._changes: dict[str, int] = {}

    def feature(self, view: str, role: str, name: str) -> FeatureSkew:
        """Return the counts of a feature."""
        return self._features.setdefault((view, role, name), FeatureSkew(view, role, name))

    def change(self, what: str, rows: int) -> None:
        """Note something that the project no longer has, or has otherwise."""
        self._changes[what] = self._changes.get(what, 0) + rows

    def note_source(self, about: Mapping[str, Any], rows: int) -> None:
        """Note the source of rows, if it is not this project as it is now."""
        if about["service"] and about["service"] not in self._registry.services:
            self.change(f"the feature service '{about['service']}' is no longer in the project", rows)
        for item in about["references"]:
            latest = self._registry.latest.get(item.get("view"))
            if latest and (served := about["roles"][item["as"]]["view"]) != latest:
                self.change(f"the latest version of '{item['view']}' was {served}, and is {latest}", rows)
        logged = f"{about['project']}, target {about['target']}"
        if logged != self._name:
            self.change(f"logged from a store of {logged}; compared with {self._name}", rows)

    def examples(self, of: FeatureSkew, some: Sequence[tuple[float, SkewExample]]) -> None:
        """Keep the farthest examples of a feature."""
        known = self._distances.setdefault((of.view, of.role, of.feature), [])
        ranked = sorted([*zip(known, of.examples, strict=True), *some], key=lambda pair: -pair[0])[:_MOST_EXAMPLES]
        known[:], of.examples[:] = [distance for distance, _ in ranked], [example for _, example in ranked]

    def stale(self, view: str, ages: pa.Array) -> None:
        """Count rows for which the export of a view was too old; `ages` in microseconds."""
        seconds = [age / 1e6 for age in ages.drop_null().to_pylist()]
        if not seconds:
            return
        known = self._ages.setdefault(view, [])
        self._stale_rows[view] = self._stale_rows.get(view, 0) + len(seconds)
        self._oldest[view] = max(*seconds, self._oldest.get(view, seconds[0]))
        # A part of very many ages is enough for quantiles.
        known += seconds[:: max(1, len(seconds) // _MOST_AGES)]
        if len(known) > 2 * _MOST_AGES:
            known[:] = known[::2]

    def result(self, rows: int, unread: Sequence[str]) -> Skew:
        """Return all findings, sorted by name."""
        views = []
        for name, ages in sorted(self._ages.items()):
            half, most = pc.quantile(pa.array(ages), (0.5, 0.9), interpolation="lower").to_pylist()
            lag = self._registry.views[name].lag.total_seconds()
            views.append(StaleView(name, self._stale_rows[name], lag, half, most, self._oldest[name]))
        return Skew(
            rows=rows,
            features=tuple(each for _, each in sorted(self._features.items())),
            stale_views=tuple(views),
            changes=tuple(f"{what}: {number:,} rows" for what, number in sorted(self._changes.items())),
            unread=tuple(unread),
            hints=tuple(self._hints()),
        )

    def _hints(self) -> Iterator[str]:
        views = {each.view: self._registry.views.get(each.view) for each in self._features.values() if each.different}
        for name, view in sorted(views.items()):
            if view and view.created_timestamp is None:
                yield (
                    f"{name} has no created_timestamp: rows that were loaded after they were asked for look as if they "
                    "had been known, and what was served then looks different"
                )
        changed = {each.view for each in self._features.values() if each.changed} - {ON_DEMAND}
        for name in sorted(changed):
            yield f"{name} is static: values of it that differ have changed since they were served"


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The findings of `pit-join monitor`, by check; None of a check that was not asked for.

    They are those of a project and a target of its profile, and `now` is the instant that they are about.
    """

    skew: Skew | None = None
    freshness: Freshness | None = None
    rates: Rates | None = None
    drift: Drift | None = None
    failed: tuple[str, ...] = ()
    project: str = ""
    target: str = ""
    now: datetime | None = field(default=None, compare=False)

    @property
    def _checks(self) -> dict[str, Freshness | Rates | Drift | Skew]:
        checks = {"freshness": self.freshness, "rates": self.rates, "drift": self.drift, "skew": self.skew}
        return {name: each for name, each in checks.items() if each}

    @property
    def found(self) -> bool:
        """Whether any finding needs attention."""
        return any(each.found for each in self._checks.values())

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The things that could not be looked at, each with the reason."""
        skew = (f"left out {file}" for file in self.skew.unread) if self.skew else ()
        others = [each for each in (self.freshness, self.rates, self.drift) if each]
        empty = ["skew: the log has no rows in the span of time"] if self.skew and not self.skew.rows else []
        found = [*self.failed, *(reason for each in others for reason in each.unchecked), *skew, *empty]
        return tuple(dict.fromkeys(found))

    @property
    def results(self) -> tuple[Result, ...]:
        """The findings of all checks in one form."""
        return tuple(result for each in self._checks.values() for result in each.results)

    @property
    def breaches(self) -> tuple[Result, ...]:
        """The results that need attention."""
        return tuple(each for each in self.results if each.breached)

    def as_json(self) -> dict[str, Any]:
        """Return the findings as plain values."""
        return {name: each.as_json() for name, each in self._checks.items()}

    def __repr__(self) -> str:
        return f"<Monitoring: {', '.join(map(repr, self._checks.values()))}>"

    def _repr_html_(self) -> str:
        clean = "not everything could be looked at" if self.unchecked else "nothing found"
        parts = (each._repr_html_() for each in self._checks.values())
        return notebook(f"Monitoring: {'something needs attention' if self.found else clean}", *parts)
