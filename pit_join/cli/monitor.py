"""The command `monitor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import Command, check_options, json_option, select_option
from pit_join.cli.output import age, escaped, moment_text, print_table, shown
from pit_join.json_values import json_text
from pit_join.references import split_list

if TYPE_CHECKING:
    from pit_join.monitoring.drift import Drift
    from pit_join.monitoring.findings import FeatureSkew, Monitoring, Skew
    from pit_join.monitoring.freshness import FeatureFreshness, Freshness
    from pit_join.monitoring.rates import FeatureRates, Rates

__all__ = ["monitor"]

_OF_LOG = ("log", "start", "end", "service")
_OF_DRIFT = ("baseline", "baseline_start", "baseline_end", "baseline_as_of")
_KINDS = ("rows", "match", "stale", "different", "changed", "fallback", "not_compared")


@click.command(
    "monitor", cls=Command, short_help="Check freshness, nulls, defaults, drift, and served values against the rule.",
    sections={
        "What was served": _OF_LOG,
        "Options of the check drift": _OF_DRIFT,
        "Options of the check skew": ("tolerance",),
    },
)  # fmt: skip
@click.option(
    "--check", "checks", multiple=True, metavar="NAME[,NAME...]",
    help="freshness, rates, drift or skew; by default all that have what they need.",
)  # fmt: skip
@select_option("Only these feature views.")
@click.option("--now", metavar="TIME", help="The instant of ages and of snapshots. Default: the present.")
@click.option("--log", metavar="DIR", help="The folder of a feature log, of serve --feature-log or FeatureLog.")
@click.option("--start", metavar="TIME", help="Only values served from this time on (naive is UTC).")
@click.option("--end", metavar="TIME", help="Only values served before this time.")
@click.option("--service", metavar="NAME", help="Only values served for this feature service.")
@click.option(
    "--baseline", metavar="PATH", help="What the log is held against: a training set (.parquet), or another log."
)
@click.option("--baseline-start", metavar="TIME", help="Only values of that other log from this time on.")
@click.option("--baseline-end", metavar="TIME", help="Only values of that other log before this time.")
@click.option(
    "--baseline-as-of", metavar="TIME", help="Without a log: the earlier snapshot that today's is held against."
)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, metavar="X",
    help="The most that floats of windows may differ, relative to themselves; all else must be equal.",
)  # fmt: skip
@click.option(
    "--results", metavar="DIR",
    help="Where results are kept, for trends and reports. Default: monitoring/<target> in the project.",
)  # fmt: skip
@click.option("--no-results", is_flag=True, help="Keep no results.")
@json_option
@click.pass_context
def monitor(
    ctx: click.Context, /, checks: tuple[str, ...], results: str | None, no_results: bool, as_json: bool, **options: Any
) -> None:
    """Check how fresh and complete features are, whether they drift, and whether what was served is right.

    freshness: of each feature the newest event time that is known in the warehouse, and in the online store, and how
    old it is. If that is more than the feature's or the view's freshness_slo, it is said where the time was lost: the
    source is silent, its rows were not built, or what was built was not exported. A store can be judged without the
    warehouse.

    rates: the shares of nulls and of defaults, in the warehouse's newest values, in the online store, and in a log,
    held against max_null_rate and max_default_rate.

    drift: how far the values of a log have moved from those of a training set or of another log, or those of the
    warehouse from an earlier instant. An alarm needs a stability index (PSI) over 0.2, or `drift: {psi: ...}`, and
    more than chance.

    skew: the values of a feature log, held against the offline rule at the time when each was served. A match was
    right at that time. A stale value was right only at the last export: the view's lag falls short of the export's
    delay. A different value was right at neither time. A value of a static view that differs has changed since it was
    served.

    Exit status 1 if a check found something; otherwise 3 if something could not be looked at, which is listed.

    The warehouse is opened once by each check and held, read only, until everything is read: a `dbt build` that starts
    meanwhile waits by the profile's `retries`, or fails. External tables are read once by each check.

    \b
    Examples:
      pit-join monitor
      pit-join monitor --now '2026-03-18 14:30' --select user_activity --json
      pit-join monitor --log feature_log --start '2026-03-18' --service churn_v1
      pit-join monitor --check drift --log feature_log --baseline training_set.parquet
      pit-join monitor --check drift --baseline-as-of '2026-03-11'
    """
    for name in (*_OF_LOG[1:], "tolerance", "baseline"):
        check_options(needed=(name, "log"))
    for name in ("baseline_start", "baseline_end"):
        check_options(needed=(name, "baseline"))
    from pit_join.cli.console import bar

    with bar():
        asked = [name for listed in checks for name in split_list(listed)]
        store = ctx.obj()
        kept = None if no_results else results or store.results_folder()
        found = store.monitor(checks=asked, results=kept, **options)
    if as_json:
        click.echo(json_text(found.as_json()))
    else:
        _print(found)
    for reason in found.unchecked:
        click.echo(f"warning: {escaped(reason)}", err=True)
    if found.found:
        ctx.exit(1)
    if found.unchecked:
        ctx.exit(3)


def _print(found: Monitoring) -> None:
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
