"""The command `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pit_join.cli.options import Command, json_option
from pit_join.cli.output import escaped, moment_text, print_table, shown
from pit_join.json_values import json_text, with_zone

if TYPE_CHECKING:
    from pit_join.training.explanation import ExplainedRow, Explanation

__all__ = ["explain"]

_MOST_COLUMNS = 6
_NUMBERS = ("int", "uint", "float", "double", "decimal")  # the beginnings of the types of numbers


@click.command("explain", cls=Command, short_help="Show why a feature has its value at a time.")
@click.option(
    "--feature", required=True, metavar="VIEW[:FEATURE]|[SERVICE:]NAME",
    help="A feature, a view for all its features, or an on-demand feature of a service.",
)  # fmt: skip
@click.option(
    "--entity", "entities", multiple=True, metavar="KEY=VALUE",
    help="A key of the view, or a field of the on-demand feature; one for each that it has.",
)  # fmt: skip
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

    The chosen row is marked; every other one says why it is not: later than the time asked (T, less the gap if there
    is one), not yet known, superseded by a newer row, older than the ttl, deleted, or of a tie that it lost. Of a
    window these are the events at its two edges. The value in the online store is compared with the rule at the
    instant of its export. Of an on-demand feature the expression and the value of each argument are shown.

    \b
    Examples:
      pit-join explain --feature user_activity:login_count_30d --entity user_id=42 --at '2026-03-18 14:30'
      pit-join explain --feature weather --entity airport=JFK --at 2013-03-05 --around 5
      pit-join explain --feature headwind --entity origin=JFK --entity dest=TPA --at '2013-03-08 18:00'
    """
    given = dict(entity.split("=", 1) for entity in entities if "=" in entity)
    if len(given) < len(entities):
        raise click.UsageError("--entity must be KEY=VALUE, each key once")
    found = ctx.obj().explain(feature, given, at, gap=gap, around=around, online=not offline)
    if as_json:
        click.echo(json_text(found.as_json()))
        return
    _print(found)


def _print(found: Explanation) -> None:
    from pit_join.training.explanation import answer_lines, argument_table, asked_text, online_lines

    click.echo(asked_text(found))
    click.echo("\n".join(map(escaped, "; ".join(found.rule).splitlines())))
    for window in found.windows:
        click.echo(f"\n{window.feature}: {shown(window.function)}; {window.events:,} events count")
        _print_rows(found, window.rows, {window.column: window.type or ""} if window.column else {}, windowed=True)
    if found.arguments:
        click.echo()
        print_table(*argument_table(found.arguments))
    elif not found.windows:
        click.echo()
        _print_rows(found, found.rows, {name: found.types[name] for name in found.values}, windowed=False)
    click.echo()
    for line in answer_lines(found):
        click.echo(line)
    for line in () if found.online is None else online_lines(found.online):
        click.echo(line)


def _print_rows(
    found: Explanation, rows: tuple[ExplainedRow, ...], types: Mapping[str, str], *, windowed: bool
) -> None:
    columns = dict(list(types.items())[:_MOST_COLUMNS])
    times = ["event time (UTC)", "known from (UTC)", *(["until (UTC)"] if windowed else [])]
    head = ["", *times, *columns, "verdict"]

    def line(text: str) -> list[str]:
        return ["", text, *[""] * (len(head) - 2)]

    before, dated = found.counts["before"], found.counts["before"] + found.counts["after"]
    lines = []
    # Those up to the time asked, the later ones, and those without a time.
    for start, end in ((0, before), (before, dated), (dated, found.counts["rows"])):
        if start == before < end == dated:
            lines.append(line(f"--- {moment_text(found.asked)} ---"))
        for row in (row for row in rows if start < row.position <= end):
            if hidden := row.position - start - 1:
                lines.append(line(f"... {hidden:,} more"))
            start = row.position
            instants = (row.event, row.known_from, *((row.until,) if windowed else ()))
            lines.append(
                [
                    "=>" if row is found.chosen else "",
                    *("-" if time is None else moment_text(time) for time in instants),
                    *(shown(with_zone(value, kind)) for value, kind in zip(row.values, columns.values(), strict=False)),
                    row.verdict.value,
                ]
            )
        if hidden := end - start:
            lines.append(line(f"... {hidden:,} more{', no time' if end > dated else ''}"))
    if lines:
        numbers = [i for i, kind in enumerate(columns.values(), 1 + len(times)) if kind.startswith(_NUMBERS)]
        print_table(head, lines, right=tuple(numbers))
    else:
        click.echo("the key has no rows")
    if len(types) > _MOST_COLUMNS:
        click.echo(f"{len(types) - _MOST_COLUMNS} more features (all with --json)")
