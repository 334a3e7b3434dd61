"""The command `monitor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pit_join.cli.options import Command, json_option
from pit_join.cli.output import age, print_table, shown

if TYPE_CHECKING:
    from pit_join.monitoring.findings import FeatureSkew, Skew

__all__ = ["monitor"]

_KINDS = ("rows", "match", "stale", "different", "changed", "fallback", "not_compared")


@click.command("monitor", cls=Command, short_help="Compare logged values, as they were served, with the offline rule.")
@click.option(
    "--log", required=True, metavar="DIR", help="The folder of a feature log, of serve --feature-log or FeatureLog."
)
@click.option("--start", metavar="TIME", help="Only values served from this time on (naive is UTC).")
@click.option("--end", metavar="TIME", help="Only values served before this time.")
@click.option("--service", metavar="NAME", help="Only values served for this feature service.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, metavar="X",
    help="The most that floats of windows may differ, relative to themselves; all else must be equal.",
)  # fmt: skip
@json_option
@click.pass_context
def monitor(
    ctx: click.Context,
    log: str,
    start: str | None,
    end: str | None,
    service: str | None,
    tolerance: float,
    as_json: bool,
) -> None:
    """Compare the values of a feature log with the offline rule at the time when each was served.

    A match was right at that time. A stale value was right only at the last export: the view's lag falls short of the
    export's delay. A different value was right at neither time. A value of a static view that differs has changed since
    it was served. Exit status 1 if any value is stale or different; otherwise 3 if a file of the log could not be read.

    The warehouse is opened once and held, read only, until everything is compared: a `dbt build` that starts meanwhile
    waits by the profile's `retries`, or fails. External tables are read once.

    \b
    Examples:
      pit-join monitor --log feature_log
      pit-join monitor --log feature_log --start '2026-03-18' --service churn_v1 --json
    """
    from pit_join.cli.console import bar

    with bar():
        found = ctx.obj().monitor(log, start=start, end=end, service=service, tolerance=tolerance)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        _print_skew(found.skew)
    for file in found.skew.unread:
        click.echo(f"warning: left out {file}", err=True)
    if found.found:
        ctx.exit(1)
    if found.skew.unread:
        ctx.exit(3)


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
