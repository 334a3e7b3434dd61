"""The options of a replay, and its result as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import select_option
from pit_join.cli.output import escaped, moment_text, print_table, shown
from pit_join.json_values import json_text
from pit_join.references import split_list
from pit_join.times import format_duration

if TYPE_CHECKING:
    from pit_join.audit.replay_result import Replay, ReplayedView, ReplayExample

__all__ = ["print_replay", "replay_options"]

_OPTIONS = (
    select_option("Only these feature views, with the models that they read."),
    click.option(
        "--cuts", type=click.IntRange(1), default=5, show_default=True, metavar="N",
        help="How many times to draw: inside days, and just before rows that changed.",
    ),
    click.option(
        "--at", metavar="TIME[,TIME...]", default="", callback=lambda ctx, param, value: split_list(value),
        help="Cut at these times (naive is UTC) instead of drawn ones.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="The seed of the drawn times."),
    click.option(
        "--incremental", is_flag=True,
        help="Build incremental models cut after cut in one warehouse, as production did, instead of fully.",
    ),
    click.option(
        "--allow-hooks", is_flag=True, help="Run hooks and plugins of the project, which may write anywhere."
    ),
    click.option("--strict", is_flag=True, help="Exit status 1 for every verdict but clean."),
)  # fmt: skip


def replay_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a replay."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def print_replay(found: Replay, as_json: bool) -> None:
    """Print the result of a replay."""
    if as_json:
        click.echo(json_text(found.as_json()))
        return
    if found.cuts:
        click.echo(f"cuts (seed {found.seed}), UTC: {', '.join(map(moment_text, found.cuts))}\n")
    rows = [
        [
            view.view,
            view.verdict,
            f"{view.rows:,}",
            *(f"{view.kinds.get(kind, 0):,}" for kind in ("changed", "vanished", "appeared")),
            "-" if view.horizon is None else "unbounded" if view.unbounded else _duration(view.horizon),
        ]
        for view in found.views
    ]
    headings = ["view", "verdict", "rows compared", "changed", "vanished", "appeared", "horizon"]
    print_table(headings, rows, right=(2, 3, 4, 5))
    for view in found.views:
        for line in _details(view):
            click.echo(line)
    for sentence in found.inputs:
        click.echo(f"not audited: {escaped(sentence)}")
    click.echo(f"{found.found:,} of {len(found.views):,} views leak; {found.builds} builds, {found.seconds:.1f} s")


def _details(view: ReplayedView) -> Iterator[str]:
    if view.found:
        rows = max(view.rows, view.found)  # those that vanished are not among today's
        share = f"{view.found:,} of {rows:,} rows ({view.found / rows:.1%})"
        columns = ", ".join(f"{shown(name)} in {number:,}" for name, number in view.columns.items())
        yield f"! {view.view}: {share} differ from what they were{'; ' + columns if columns else ''}"
        if view.unbounded:
            yield "  rows as old as the history differ: no lag makes the view honest"
        elif view.lag is not None:
            yield f"  with lag: {format_duration(view.lag)} the view would be honest, as far as these cuts show"
        for example in view.examples:
            yield f"  {_example(example)}"
    if view.not_reproducible:
        what = ", ".join(map(shown, view.not_reproducible))
        yield f"- {view.view}: {what} not reproducible: two builds of the same inputs differ"
    if view.look_back is not None:
        span = _duration(view.look_back)
        yield f"- {view.view}: rows up to {span} after the beginning of the data depend on what was before it"
    if view.stored:
        yield f"- {view.view}: {view.stored:,} rows of the stored table are not those of a full build of today"


def _example(example: ReplayExample) -> str:
    keys = "".join(f"{name}={shown(value)} " for name, value in example.keys.items())
    known = "" if example.known_from is None else f"known from {moment_text(example.known_from)}, "
    values = "; ".join(
        f"{shown(name)} was {shown(then)} and is {shown(today)}" for name, (then, today) in example.values.items()
    )
    return f"{keys}{known}cut {moment_text(example.cut)}: {values or example.kind}"


def _duration(duration: timedelta) -> str:
    """Return a duration in its two largest units."""
    rest, parts = duration, []
    for size, name in ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {name}")
    return " ".join(parts[:2]) or f"{rest.total_seconds():g} s"
