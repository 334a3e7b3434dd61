"""The findings of `monitor` as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.output import age, escaped, moment_text, print_table, shown

if TYPE_CHECKING:
    from pit_join.monitoring.drift import Drift
    from pit_join.monitoring.findings import FeatureSkew, Monitoring, Skew
    from pit_join.monitoring.freshness import FeatureFreshness, Freshness
    from pit_join.monitoring.rates import FeatureRates, Rates

__all__ = ["print_findings"]

_KINDS = ("rows", "match", "stale", "different", "changed", "fallback", "not_compared")


def print_findings(found: Monitoring) -> None:
    """Print a table for each check, and a line for each finding."""
    parts: list[Callable[[], None]] = []
    if found.freshness:
        parts.append(partial(_print_freshness, found.freshness))
    if found.rates:
        parts.append(partial(_print_rates, found.rates))
    if found.drift:
        parts.append(partial(_print_drift, found.drift))
    if found.skew:
        parts.append(partial(_print_skew, found.skew))
    for number, part in enumerate(parts):
        if number:
            click.echo()
        part()


def _print_rates(found: Rates) -> None:
    """Print a line for the features of a view that are alike in every place."""
    places = [place for place in ("offline", "stored", "served") if any(each.place == place for each in found.features)]
    features: dict[tuple[str, str], dict[str, FeatureRates]] = {}
    for each in found.features:
        features.setdefault((each.view, each.feature), {})[each.place] = each
    alike: dict[tuple[str, ...], list[str]] = {}
    for (view, feature), rates in sorted(features.items()):
        at = [rates.get(place) for place in places]
        shares = [_share(each.null_rate if each else None) for each in at]
        shares += [_share(each.default_rate if each else None) for each in at]
        counts = [f"{each.rows:,}" if each else "-" for each in at]
        alike.setdefault((view, *counts, *shares), []).append(feature)
    rows = [[view, _several(names), *cells] for (view, *cells), names in alike.items()]
    head = [f"{what} {place}" for what in ("values", "nulls", "defaults") for place in places]
    print_table(["view", "feature", *head], rows, right=tuple(range(2, 2 + len(head))))
    for result in found.results:
        if result.breached:
            click.echo(escaped(f"! {result.view}:{result.feature}: {result.text}"))


def _print_drift(found: Drift) -> None:
    rows = [
        [
            each.view,
            each.feature,
            f"{each.drift.baseline_rows or 0:,}",
            f"{each.drift.rows:,}",
            *(_number(value) for value in (each.drift.psi, each.drift.js, each.drift.ks)),
            _number(each.bound),
            "not judged" if not each.judged else "drifted" if each.breached else "over" if each.over else "ok",
        ]
        for each in found.features
    ]
    head = ["view", "feature", "values before", "now", "PSI", "JS", "KS", "bound", "verdict"]
    print_table(head, rows, right=(2, 3, 4, 5, 6, 7))
    for each in found.features:
        if each.over:
            click.echo(escaped(f"! {each.view}:{each.feature}: {each.text}"))
    click.echo(escaped(f"against {found.against}"))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _several(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1:,} more" if len(names) > 1 else names[0]


def _print_freshness(found: Freshness) -> None:
    """Print a line for the features of a view that are alike."""
    alike: dict[tuple[Any, ...], list[FeatureFreshness]] = {}
    for each in found.features:
        kind = (each.view, each.known, each.served, each.slo, each.lost, each.impact, each.owner)
        alike.setdefault(kind, []).append(each)
    rows = [
        [
            each.view,
            _several([each.feature, *(other.feature for other in others)]),
            *(_age(found.now, moment) for moment in (each.known, each.served, each.exported_at)),
            "-" if each.slo is None else age(each.slo),
            _verdict(each),
        ]
        for each, *others in alike.values()
    ]
    head = ["view", "feature", "newest known", "newest served", "export", "SLO", "verdict"]
    print_table(head, rows, right=(2, 3, 4, 5))
    for each, *others in alike.values():
        if each.breached:
            why = each.lost or "cannot tell where the time was lost"
            click.echo(
                escaped(f"! {each.view}: {_several([each.feature, *(other.feature for other in others)])}: {why}")
            )
            for name, text in (("impact", each.impact), ("owner", each.owner)):
                if text:
                    click.echo(escaped(f"    {name}: {text}"))
    click.echo(f"ages at {moment_text(found.now)} UTC")


def _verdict(each: FeatureFreshness) -> str:
    if not each.judged:
        return "not judged" if each.slo else ""
    if not each.breached:
        return "ok" if each.slo else ""
    return "stale" if each.stale else "no value" if each.age is None else "too old"


def _age(now: int, moment: int | None) -> str:
    return "-" if moment is None else age((now - moment) / 1e6)


def _print_skew(skew: Skew) -> None:
    if not skew.rows:
        click.echo("no logged rows match")
        return
    columns = [kind for kind in _KINDS if kind in _KINDS[:4] or any(getattr(each, kind) for each in skew.features)]
    rows = [[*_name(each), *(f"{getattr(each, kind):,}" for kind in columns)] for each in skew.features]
    headings = ["view", "feature", *(kind.replace("_", " ") for kind in columns)]
    print_table(headings, rows, right=tuple(range(2, len(headings))))
    for each in skew.stale_views:
        click.echo(
            f"! {each.view}: {each.rows:,} rows are stale, from exports {age(each.age_p50)} old (p90 "
            f"{age(each.age_p90)}); its lag of {age(each.lag)} falls short by {age(each.short_by)}"
        )
    for feature in skew.features:
        for example in feature.examples:
            view, name = _name(feature)
            keys = "".join(f"{key}={value}, " for key, value in example.keys.items())
            served, expected = (
                f"{shown(value)} ({status})"
                for value, status in (
                    (example.served, example.served_status), (example.expected, example.expected_status),
                )
            )  # fmt: skip
            click.echo(f"  {view}:{name}, {keys}{example.served_at:%Y-%m-%d %H:%M:%S}: {served}, not {expected}")
    for line in (*skew.changes, *skew.hints):
        click.echo(f"! {line}")
    totals = {kind: sum(getattr(each, kind) for each in skew.features) for kind in _KINDS[1:5]}
    kinds = ", ".join(f"{total:,} {kind}" for kind, total in totals.items() if total or kind != "changed")
    click.echo(f"{skew.rows:,} rows, {sum(each.rows for each in skew.features):,} values: {kinds}")


def _name(each: FeatureSkew) -> tuple[str, str]:
    """Return the view with its role, and the feature."""
    if each.view == "on_demand":
        return each.view, each.role if each.role == each.feature else f"{each.role} ({each.feature})"
    return each.view if each.role == each.view else f"{each.role} ({each.view})", each.feature
