"""The command `monitor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import Command, check_options, json_option, select_option
from pit_join.cli.output import escaped, moment_text, print_table
from pit_join.json_values import json_text
from pit_join.references import split_list

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring, Skew
    from pit_join.monitoring.freshness import Freshness

__all__ = ["monitor"]

_OF_SKEW = ("log", "start", "end", "service", "tolerance")


@click.command(
    "monitor", cls=Command, short_help="Look how fresh features are, and whether served values are those of the rule.",
    sections={"Options of the check freshness": ("select", "now"), "Options of the check skew": _OF_SKEW},
)  # fmt: skip
@click.option(
    "--check", "checks", multiple=True, metavar="NAME[,NAME...]",
    help="freshness or skew; by default skew if there is a --log, else freshness.",
)  # fmt: skip
@select_option("Only these feature views.")
@click.option("--now", metavar="TIME", help="The instant at which ages are judged. Default: the present.")
@click.option("--log", metavar="DIR", help="The folder of a feature log, of serve --feature-log or FeatureLog.")
@click.option("--start", metavar="TIME", help="Only values served from this time on (naive is UTC).")
@click.option("--end", metavar="TIME", help="Only values served before this time.")
@click.option("--service", metavar="NAME", help="Only values served for this feature service.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, metavar="X",
    help="The most that floats of windows may differ, relative to themselves; all else must be equal.",
)  # fmt: skip
@json_option
@click.pass_context
def monitor(ctx: click.Context, /, checks: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Look how fresh features are, and whether what was served is what the rule says.

    freshness: of each feature the newest event time that is known in the warehouse, and in the online store, and how
    old it is. If that is more than the feature's or the view's freshness_slo, it is said where the time was lost: the
    source is silent, its rows were not built, or what was built was not exported. A store can be judged without the
    warehouse.

    skew: the values of a feature log, held against the offline rule at the time when each was served. A match was
    right at that time. A stale value was right only at the last export: the view's lag falls short of the export's
    delay. A different value was right at neither time. A value of a static view that differs has changed since it was
    served.

    Exit status 1 if a feature is too old, or any value is stale or different; otherwise 3 if something could not be
    looked at, which is listed.

    The warehouse is opened once and held, read only, until everything is read: a `dbt build` that starts meanwhile
    waits by the profile's `retries`, or fails. External tables are read once.

    \b
    Examples:
      pit-join monitor
      pit-join monitor --now '2026-03-18 14:30' --select user_activity --json
      pit-join monitor --log feature_log --start '2026-03-18' --service churn_v1
      pit-join monitor --check freshness,skew --log feature_log
    """
    for name in _OF_SKEW[1:]:
        check_options(needed=(name, "log"))
    from pit_join.cli.console import bar

    with bar():
        asked = [name for listed in checks for name in split_list(listed)]
        found = ctx.obj().monitor(checks=asked or None, **options)
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
    if found.freshness:
        _print_freshness(found.freshness)
    if found.freshness and found.skew:
        click.echo()
    if found.skew:
        _print_skew(found.skew)


def _print_freshness(found: Freshness) -> None:
    from pit_join.monitoring.freshness import freshness_table

    headings, rows, lines = freshness_table(found)
    print_table(headings, rows, right=(2, 3, 4, 5))
    _print_lines(lines)
    click.echo(f"ages at {moment_text(found.now)} UTC")


def _print_skew(skew: Skew) -> None:
    from pit_join.monitoring.findings import skew_table, skew_totals

    if not skew.rows:
        click.echo("no logged rows match")
        return
    headings, rows, lines = skew_table(skew)
    print_table(headings, rows, right=tuple(range(2, len(headings))))
    _print_lines(lines)
    click.echo(skew_totals(skew))


def _print_lines(lines: list[str]) -> None:
    """Print what is wrong, marked; lines that begin with blanks belong to the one before."""
    for line in lines:
        click.echo(escaped(line if line.startswith(" ") else f"! {line}"))
