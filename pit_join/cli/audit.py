"""The command `audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import Command, check_options, feature_choice, json_option, listed_pairs
from pit_join.cli.output import escaped, moment_text, print_table, shown
from pit_join.cli.replay import print_replay, replay_options
from pit_join.json_values import json_text
from pit_join.statuses import PRESENT, STATUSES

if TYPE_CHECKING:
    from pit_join.audit.findings import AuditedColumn, TrainingSetAudit

__all__ = ["audit"]

_MOST_NAMES = 8
_TELLING = 0.02  # a difference of two AUCs that is more than noise

_OF_A_SET = (
    "file", "event_timestamp", "time_zone", "gap", "features", "service", "roles", "full_feature_names", "columns",
    "label", "tolerance",
)  # fmt: skip
_OF_A_REPLAY = ("select", "cuts", "at", "seed", "incremental", "allow_hooks", "strict")


@click.command(
    "audit", cls=Command, short_help="Find leaks in a training set, or in the SQL of feature views.",
    sections={"Options for a FILE": _OF_A_SET[1:], "Options for --replay": _OF_A_REPLAY},
)  # fmt: skip
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), required=False)
@click.option(
    "--event-timestamp", metavar="COLUMN",
    help="The column with the time T of each row. Required unless the file says it itself.",
)  # fmt: skip
@click.option("--time-zone", metavar="ZONE", help="The time zone of naive times and dates. Default: UTC.")
@click.option("--gap", metavar="DURATION", help="The gap with which the set was built, such as '1 day'.")
@feature_choice
@click.option(
    "--map", "columns", multiple=True, metavar="COLUMN=REF", callback=listed_pairs,
    help="The feature of a column with another name, such as 'x7=weather:temp'. May be given more than once.",
)  # fmt: skip
@click.option("--label", metavar="COLUMN", help="The label, to look for it, or its mean, in other columns.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, metavar="X",
    help="The most that floats may differ, relative to themselves, besides the precision of the file.",
)  # fmt: skip
@click.option("--replay", "replayed", is_flag=True, help="Audit the SQL of feature views instead of a file.")
@replay_options
@click.option("--show-keys", is_flag=True, help="Show the keys of rows that differ.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context, /, file: Path | None, replayed: bool, strict: bool, show_keys: bool, as_json: bool, **given: Any
) -> None:
    """Find leaks in a training set that anybody made, by any tool: a CSV, Parquet or Arrow FILE.

    Its features are built again by the rule, for its own keys and times, and compared column by column, within the
    precision of the file. Columns are found by their names: feature, view__feature, or what --map says. Where a column
    differs the rule is asked anew with other times and other settings, and the likely cause is named: the value of one
    day later, the newest of all, a time zone, an ignored lag or created time. A column of which the project knows
    nothing is held against the label, against later rows, and against all features.

    With --replay, find leaks in the SQL of feature views. dbt builds them, and the models that they read, in a scratch
    folder, on sources cut at several times. A row that was known at such a time must come out the same today. Sources
    say when their rows are known by `loaded_at_field`, or `known_at` in config.meta.pit_join. The warehouse is opened
    once and held, read only.

    Exit status 1 if a column differs, could not be compared, or seems to hold a leak, or if a view has a leak.

    \b
    Examples:
      pit-join audit train.parquet
      pit-join audit theirs.csv --event-timestamp signup --time-zone Europe/Berlin --label churned
      pit-join audit theirs.csv --event-timestamp t --map 'x7=user_activity:logins' --show-keys
      pit-join audit --replay
      pit-join audit --replay --select user_activity --at '2026-03-18 14:30' --show-keys
    """
    if not replayed and file is None:
        raise click.UsageError("give the FILE of a training set, or --replay for the SQL of feature views")
    for name in _OF_A_SET:
        check_options(exclusive=("replayed", name))
    for name in _OF_A_REPLAY:
        check_options(needed=(name, "replayed"))
    if replayed:
        failed = _replay(ctx, show_keys, strict, as_json, {name: given[name] for name in _OF_A_REPLAY if name in given})
    else:
        options = {name: given[name] for name in _OF_A_SET if name in given}
        failed = _audit(ctx, file, show_keys, as_json, options)
    if failed:
        ctx.exit(1)


def _replay(ctx: click.Context, show_keys: bool, strict: bool, as_json: bool, options: dict[str, Any]) -> bool:
    from pit_join.cli.console import bar

    with bar():
        found = ctx.obj().replay(show_keys=show_keys, **options)
    print_replay(found, as_json)
    return bool(found.found or (strict and any(view.verdict != "clean" for view in found.views)))


def _audit(ctx: click.Context, file: Path | None, show_keys: bool, as_json: bool, options: dict[str, Any]) -> bool:
    found = ctx.obj().audit(file, **options)
    if as_json:
        click.echo(json_text(found.as_json(show_keys=show_keys)))
    else:
        _print(found, show_keys)
    return bool(found.found)


def _print(found: TrainingSetAudit, show_keys: bool) -> None:
    if found.columns:
        headings = ["column", "feature", "verdict", "differ", "nulls filled", "precision"]
        print_table(headings, [_cells(one) for one in found.columns], right=(3,))
    else:
        click.echo("no column of the file is a feature of the project; say which with --map COLUMN=view:feature")
    for one in found.columns:
        if one.verdict != "ok":
            _print_column(one, show_keys)
    for suspect in found.suspects:
        rows = f"{suspect.explained:,} of {suspect.tried:,} rows"
        click.echo(f"{'!' if suspect.leak else ' '} {shown(suspect.column)}: {escaped(suspect.text)} ({rows})")
    for alias, statuses in found.statuses.items():
        counts = {status: rows for status, rows in statuses.items() if rows and status != PRESENT}
        others = [f"{rows:,} {STATUSES[status].heading}" for status, rows in counts.items()]
        if others:
            click.echo(f"{escaped(alias)}: of {found.rows:,} rows {', '.join(others)}")
    for hint in found.hints:
        click.echo(escaped(f"! {hint}"))
    if found.unknown:
        advice = "" if found.label else "; with --label they are held against the label"
        click.echo(f"not in the project: {_listed(found.unknown)}{advice}")
    if found.missing:
        click.echo(f"not in the file: {_listed(found.missing)}")
    for alias, why in found.left_out.items():
        click.echo(escaped(f"left out {alias}: {why}"))
    if found.assumed_utc:
        click.echo(f"the times of {shown(found.event_timestamp)} have no zone, and are read as UTC; see --time-zone")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(map(shown, names[:_MOST_NAMES]))}{more}"


def _cells(one: AuditedColumn) -> list[str]:
    filled = f"{shown(one.filled.value)} ({one.filled.rows:,} rows)" if one.filled else ""
    return [shown(one.column), one.feature, one.verdict, f"{one.differing:,}", filled, one.precision or ""]


def _print_column(one: AuditedColumn, show_keys: bool) -> None:
    name = shown(one.column)
    if one.problem:
        click.echo(f"! {name}: {escaped(one.problem)}")
    elif not one.causes:
        rows = "1 row differs" if one.differing == 1 else f"{one.differing:,} rows differ"
        click.echo(f"! {name}: cannot tell why {rows}; it may leak")
    for cause in one.causes[:1]:
        click.echo(f"! {name}: {cause.text} ({100 * cause.share:.0f} % of {cause.tried:,} rows that differ)")
    for rival in one.causes[1:]:
        click.echo(f"    or {rival.text} ({100 * rival.share:.0f} %); too few rows tell them apart")
    if one.auc and abs(one.auc[0] - one.auc[1]) >= _TELLING:
        click.echo(f"    hint: alone, the column has an AUC of {one.auc[0]:.3f}, and by the rule {one.auc[1]:.3f}")
    for example in one.examples:
        keys = "".join(f"{shown(key)}={shown(value)} " for key, value in example.keys.items()) if show_keys else ""
        time = "-" if example.time is None else moment_text(example.time)
        values = f"{shown(example.value)}, and the rule has {shown(example.expected)}"
        click.echo(f"    row {example.row:,}: {keys}T = {time}: {values}")
