"""The command `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pit_join.cli.options import Command, json_option
from pit_join.cli.output import age, moment_text, print_table, shown
from pit_join.json_values import json_text

if TYPE_CHECKING:
    from pit_join.training.explanation import ExplainedRow, Explanation, OnlineValue

__all__ = ["explain"]

_MOST_COLUMNS = 6


@click.command("explain", cls=Command, short_help="Show why a feature has its value at a time.")
@click.option("--feature", required=True, metavar="VIEW[:FEATURE]", help="A feature, or a view for all its features.")
@click.option(
    "--entity", "entities", multiple=True, metavar="KEY=VALUE", help="A key of the view; one for each key that it has."
)
@click.option("--at", required=True, metavar="TIME", help="The time T of the spine's row (naive is UTC).")
@click.option("--gap", metavar="DURATION", help="Predict ahead, as in build-training-set.")
@click.option(
    "--around", type=click.IntRange(0, 1_000_000), default=20, show_default=True, metavar="N",
    help="Show so many rows before and after T, or at each edge of a window; the others are counted.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Do not read the online store.")
@json_option
@click.pass_context
def explain(
    ctx: click.Context,
    feature: str,
    entities: tuple[str, ...],
    at: str,
    gap: str | None,
    around: int,
    offline: bool,
    as_json: bool,
) -> None:
    """Show why a feature has its value at a time: the rows of its key, and the verdict on each.

    The chosen row is marked; every other one says why it is not: later than T, not yet known, superseded by a newer
    row, older than the ttl, deleted, or of a tie that it lost. Of a window these are the events at its two edges. The
    value in the online store is compared with the rule at the instant of its export.

    \b
    Examples:
      pit-join explain --feature user_activity:login_count_30d --entity user_id=42 --at '2026-03-18 14:30'
      pit-join explain --feature weather --entity airport=JFK --at 2013-03-05 --around 5
    """
    given = dict(entity.split("=", 1) for entity in entities if "=" in entity)
    if len(given) < len(entities):
        raise click.UsageError("--entity must be KEY=VALUE, each key once")
    found = ctx.obj().explain(feature, given, at, gap=gap, around=around, online=not offline)
    if as_json:
        click.echo(json_text(found.as_json()))
        return
    _print(found)
    if found.online is not None:
        _print_online(found.online)


def _print(found: Explanation) -> None:
    keys = " ".join(f"{name}={shown(value)}" for name, value in found.keys.items())
    click.echo(f"{found.view} {keys}  T = {moment_text(found.at)} UTC".replace("  ", " "))
    click.echo("; ".join(found.rule))
    for window in found.windows:
        click.echo(f"\n{window.feature}: {shown(window.function)}; {window.events:,} events count")
        _print_rows(found, window.rows, [window.column] if window.column else [], windowed=True)
    if not found.windows:
        click.echo()
        _print_rows(found, found.rows, list(found.values), windowed=False)
    click.echo()
    old = "" if found.event is None else f", {age((found.asked - found.event) / 1e6)} old"
    for name, value in found.values.items():
        default = ", the declared default" if name in found.defaulted else ""
        click.echo(f"{name} = {shown(value)}{default} ({found.status}{old})")


def _print_rows(found: Explanation, rows: tuple[ExplainedRow, ...], names: list[str], *, windowed: bool) -> None:
    columns = names[:_MOST_COLUMNS]
    head = ["", "event time (UTC)", "known from (UTC)", *(["until (UTC)"] if windowed else []), *columns, "verdict"]
    lines, after, shown_up_to = [], False, 0
    for row in rows:
        if hidden := row.position - shown_up_to - 1:
            lines.append(["", f"... {hidden:,} more", *[""] * (len(head) - 2)])
        shown_up_to = row.position
        if not after and row.event is not None and row.event > found.asked:
            lines.append(["", f"--- {moment_text(found.asked)} ---", *[""] * (len(head) - 2)])
            after = True
        mark = "=>" if row is found.chosen else ""
        times = [row.event, row.known_from, *([row.until] if windowed else [])]
        values = [shown(value) for value in row.values[: len(columns)]]
        lines.append(
            [mark, *("-" if time is None else moment_text(time) for time in times), *values, row.verdict.value]
        )
    if hidden := found.counts["rows"] - shown_up_to:
        lines.append(["", f"... {hidden:,} more", *[""] * (len(head) - 2)])
    if lines:
        print_table(head, lines)
    else:
        click.echo("the key has no rows")
    if len(names) > _MOST_COLUMNS:
        click.echo(f"{len(names) - _MOST_COLUMNS} more features (all with --json)")


def _print_online(online: OnlineValue | str) -> None:
    if isinstance(online, str):
        click.echo(f"online: {online}")
        return
    values = ", ".join(f"{name} = {shown(value)} ({online.statuses[name]})" for name, value in online.values.items())
    click.echo(f"online, as of the export of {moment_text(online.exported_at)} UTC: {values}")
    for sentence in online.why or ("which is what the rule says at that instant",):
        click.echo(f"  {sentence}")
