"""The commands `describe` and `diff`, which read files of training sets and need no project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import Command, json_option
from pit_join.cli.output import escaped, print_table, shown
from pit_join.json_values import json_text
from pit_join.references import OnDemandRequest, RequestItem, listed

if TYPE_CHECKING:
    from pit_join.training.comparison import ColumnDifference, SetComparison
    from pit_join.training.set_file import SetFile

__all__ = ["describe", "diff"]

_POINTS = ("0.05", "0.25", "0.5", "0.75", "0.95")
_FILE = click.Path(path_type=Path)


@click.command("describe", cls=Command, short_help="Show what a training set's file says of itself.")
@click.argument("file", type=_FILE, metavar="FILE")
@click.option("--sql", "sql_only", is_flag=True, help="Print the SQL of the set, which is not run, and nothing else.")
@json_option
@click.pass_context
def describe(ctx: click.Context, file: Path, sql_only: bool, as_json: bool) -> None:
    """Show what a training set's file says of itself: references, coverage, and the values of each feature.

    The .parquet or .arrow file of build-training-set is enough; the project is not read. Statistics are those of the
    time when the set was written, and only Parquet files have them.

    \b
    Examples:
      pit-join describe train.parquet
      pit-join describe train.parquet --sql
    """
    found = ctx.obj().describe_training_set(file)
    if as_json:
        click.echo(json_text(found.as_json()))
    elif sql_only:
        click.echo("\n".join(map(escaped, found.described.sql.split("\n"))))
    else:
        _print_set(found)


def _print_set(found: SetFile) -> None:
    said = found.described
    built = "" if said.rows == found.table.num_rows else f" ({said.rows:,} when it was built)"
    click.echo(f"{escaped(str(found.path))}: {found.table.num_rows:,} rows{built}, {found.table.num_columns} columns")
    click.echo(f"spine: {shown(said.spine)} ({', '.join(map(shown, said.spine_columns))})")
    click.echo(f"asked for: {', '.join(map(_asked, said.requests))}")
    options = {"time": said.event_timestamp, "gap": said.gap, "window plan": said.window_plan}
    flags = {"full feature names": said.full_feature_names, "provenance": said.provenance, "defaults": said.defaults}
    click.echo("; ".join(f"{name}: {shown(value)}" for name, value in {**options, **flags}.items()))
    click.echo("built by " + ", ".join(f"{shown(name)} {shown(version)}" for name, version in said.versions.items()))
    for alias, view in said.views.items():
        settings = (f"{escaped(name)}: {escaped(value)}" for name, value in view.settings.items())
        click.echo(f"{shown(alias)}: {'; '.join(settings)}")
    statuses = list(dict.fromkeys(status for counts in said.coverage.values() for status in counts))
    click.echo()
    print_table(
        ["view", *map(shown, statuses)],
        [[shown(alias), *(f"{counts.get(each, 0):,}" for each in statuses)] for alias, counts in said.coverage.items()],
        right=tuple(range(1, len(statuses) + 1)),
    )
    click.echo()
    rows = []
    for name in said.features:
        kind = str(found.table.schema.field(name).type) if name in found.table.column_names else "(not in the file)"
        values = said.statistics.get(name)
        numbers = [values.mean, *map(values.quantiles.get, _POINTS)] if values else [None] * (len(_POINTS) + 1)
        nulls = f"{values.nulls:,}" if values else "-"
        rows.append([shown(name), shown(kind), nulls, *("-" if each is None else f"{each:.6g}" for each in numbers)])
    head = ["feature", "type", "nulls", "mean", *(f"{float(point):.0%}" for point in _POINTS)]
    print_table(head, rows, right=tuple(range(2, len(head))))


def _asked(request: RequestItem) -> str:
    if isinstance(request, OnDemandRequest):
        return escaped(f"{request.name} ({request.macro})")
    pairs = ", ".join(f"{listed([key])}={listed([column])}" for key, column in request.join_keys.items())
    keys = f"({pairs})" if pairs else ""
    role = "" if request.owner == request.view else f"{request.alias}="
    return escaped(f"{role}{request.view}{keys}:{listed(request.features)}")


@click.command("diff", cls=Command, short_help="Say what differs between two training sets, and why.")
@click.argument("one", type=_FILE, metavar="FILE")
@click.argument("other", type=_FILE, metavar="FILE")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="X",
    help="The most that floats may differ, relative to themselves; all else must be equal.",
)  # fmt: skip
@click.option(
    "--examples", type=click.IntRange(0, 1000), default=3, show_default=True, metavar="N",
    help="Show so many rows of each difference.",
)  # fmt: skip
@click.option("--show-keys", is_flag=True, help="Show the spine's columns of these rows, and not only their numbers.")
@json_option
@click.pass_context
def diff(ctx: click.Context, /, one: Path, other: Path, show_keys: bool, as_json: bool, **options: Any) -> None:
    """Say what differs between two training sets, by row and column, and why.

    The reasons are another spine, other options, other declarations or SQL in the project, or rows that came late.

    The .parquet or .arrow files of build-training-set are enough; the project is not read. If the spines are not equal,
    rows are matched by all columns of the spine. Exit status 1 if anything differs.

    \b
    Examples:
      pit-join diff train.parquet again.parquet
      pit-join diff monday.parquet tuesday.parquet --tolerance 1e-9 --show-keys
    """
    found = ctx.obj().compare_training_sets(one, other, **options)
    if as_json:
        click.echo(json_text(found.as_json(show_keys=show_keys)))
    else:
        _print_comparison(found, show_keys)
    ctx.exit(1 if found.found else 0)


def _print_comparison(found: SetComparison, show_keys: bool) -> None:
    for file, rows, alone in zip(found.files, found.rows, found.alone, strict=True):
        numbers = f": row {', '.join(f'{each.row:,}{_keys(each.keys, show_keys)}' for each in alone)}" if alone else ""
        more = ", ..." if alone and len(alone) < rows - found.matched else ""
        only = f", {rows - found.matched:,} of them only here{numbers}{more}" if rows > found.matched else ""
        click.echo(f"{escaped(file)}: {rows:,} rows{only}")
    for file, names in zip(found.files, found.only, strict=True):
        if names:
            click.echo(f"only in {escaped(file)}: {', '.join(map(shown, names))}")
    if found.moved:
        click.echo("the rows stand in another order")
    for change in found.changes:
        click.echo(f"{change.kind}: {escaped(change.text)}")
    for note in found.notes:
        click.echo(f"note: {escaped(note)}")
    if not found.columns:
        click.echo(f"no value differs in {found.matched:,} rows and {found.compared} columns")
        return
    click.echo()
    print_table(
        ["column", "differ", "null before", "null now", "changed", "greatest", "relative"],
        [
            [shown(each.column), *(f"{n:,}" for n in (each.rows, each.appeared, each.vanished, each.changed)),
             *("-" if number is None else f"{number:.3g}" for number in (each.absolute, each.relative))]
            for each in found.columns
        ],
        right=tuple(range(1, 7)),
    )  # fmt: skip
    for each in found.columns:
        _print_column(each, show_keys)
    click.echo(f"\n{len(found.columns)} of {found.compared} columns differ in {found.matched:,} rows")


def _keys(keys: Mapping[str, Any], show_keys: bool) -> str:
    return f" ({', '.join(f'{shown(key)}={shown(value)}' for key, value in keys.items())})" if show_keys else ""


def _print_column(found: ColumnDifference, show_keys: bool) -> None:
    click.echo(f"\n{shown(found.column)}")
    if found.types:
        click.echo(f"  type: {shown(found.types[0])}, now {shown(found.types[1])}")
    for why in found.why:
        click.echo(f"  {escaped(why)}")
    if found.newer:
        click.echo(f"  in {found.newer:,} of them a row of a later event time was chosen")
    for example in found.examples:
        row = " and ".join(f"{number:,}" for number in dict.fromkeys(example.rows))
        click.echo(
            f"  row {row}{_keys(example.keys, show_keys)}: {shown(example.values[0])}, now {shown(example.values[1])}"
        )
