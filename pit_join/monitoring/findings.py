"""What a comparison of a feature log with the offline rule has found: counts, examples, and how old exports were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.registry import Registry

__all__ = ["ON_DEMAND", "FeatureSkew", "Findings", "Monitoring", "Skew", "SkewExample", "StaleView"]


ON_DEMAND = "on_demand"
_MOST_EXAMPLES = 5
_MOST_AGES = 100_000


@dataclass(frozen=True, slots=True)
class SkewExample:
    """A value that was served, and that of the rule at the time."""

    keys: Mapping[str, Any]
    served_at: datetime
    served: Any
    served_status: str
    expected: Any
    expected_status: str
    service: str | None


@dataclass(slots=True)
class FeatureSkew:
    """How one feature of a role met the rule, in rows; `view` is `on_demand` for one that is computed in the request.

    `match`: equal to the rule at the time served. `stale`: equal to the rule at the instant of the export alone.
    `different`: to neither. `fallback`: a store had failed. `not_compared`: the project has the feature no longer, or
    as another type. `examples` are of those that are different, the farthest first.
    """

    view: str
    role: str
    feature: str
    rows: int = 0
    match: int = 0
    stale: int = 0
    different: int = 0
    fallback: int = 0
    not_compared: int = 0
    examples: list[SkewExample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StaleView:
    """A view of which some rows were stale: how many, and how old its export was then, in seconds.

    `short_by` is by how much its lag falls short: with so many seconds more a training set does not see what serving
    had not yet, if the lag and no created time decides when rows are known.
    """

    view: str
    rows: int
    lag: float
    age_p50: float
    age_p90: float
    short_by: float


@dataclass(frozen=True, slots=True)
class Skew:
    """What was found: logged rows that were compared, features and stale views.

    `changes` say what the project has no longer, `unread` which files could not be read, `hints` what to look at.
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

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; those of examples as text."""
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


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class Findings:
    """Counts by feature, and the ages of exports by view."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry, self._name = registry, name
        self._features: dict[tuple[str, str, str], FeatureSkew] = {}
        self._distances: dict[tuple[str, str, str], list[float]] = {}
        self._ages: dict[str, list[float]] = {}
        self._stale_rows: dict[str, int] = {}
        self._oldest: dict[str, float] = {}
        self._changes: dict[str, int] = {}

    def feature(self, view: str, role: str, name: str) -> FeatureSkew:
        """The counts of a feature."""
        return self._features.setdefault((view, role, name), FeatureSkew(view, role, name))

    def change(self, what: str, rows: int) -> None:
        """Note what the project has no longer."""
        self._changes[what] = self._changes.get(what, 0) + rows

    def note_source(self, about: Mapping[str, Any], rows: int) -> None:
        """Note where rows come from, if that is not this project as it is now."""
        if about["service"] and about["service"] not in self._registry.services:
            self.change(f"the feature service '{about['service']}' is no longer in the project", rows)
        logged = f"{about['project']}, target {about['target']}"
        if logged != self._name:
            self.change(f"logged from a store of {logged}; compared with {self._name}", rows)

    def examples(self, of: FeatureSkew, some: Sequence[tuple[float, SkewExample]]) -> None:
        """Keep the farthest."""
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
        # Of very many a part is enough for quantiles.
        known += seconds[:: max(1, len(seconds) // _MOST_AGES)]
        if len(known) > 2 * _MOST_AGES:
            known[:] = known[::2]

    def result(self, rows: int, unread: Sequence[str]) -> Skew:
        """Everything, by name."""
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


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What was found, by kind."""

    skew: Skew

    @property
    def found(self) -> bool:
        """Whether somebody should look at it."""
        return self.skew.found

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"skew": self.skew.as_json()}
