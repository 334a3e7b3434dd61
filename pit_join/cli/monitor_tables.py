"""The findings of `monitor` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pit_join.cli.output import escaped, moment_text, print_table

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring, Skew

__all__ = ["print_findings"]


def print_findings(found: Monitoring) -> None:
    """Print a table for each check, and a line for each finding."""
    from pit_join.monitoring.drift import drift_table
    from pit_join.monitoring.freshness import freshness_table
    from pit_join.monitoring.rates import rates_table

    parts = 0
    if found.freshness:
        _print(*freshness_table(found.freshness), end=f"ages at {moment_text(found.freshness.now)} UTC")
        parts += 1
    if found.rates:
        click.echo("\n" * bool(parts), nl=False)
        _print(*rates_table(found.rates))
        parts += 1
    if found.drift:
        click.echo("\n" * bool(parts), nl=False)
        _print(*drift_table(found.drift), end=f"against {found.drift.against}")
        parts += 1
    if found.skew:
        click.echo("\n" * bool(parts), nl=False)
        _print_skew(found.skew)


def _print_skew(skew: Skew) -> None:
    from pit_join.monitoring.findings import skew_table, skew_totals

    if skew.rows:
        _print(*skew_table(skew), end=skew_totals(skew))
    else:
        click.echo("no logged rows match")


def _print(headings: list[str], rows: list[list[str]], lines: Sequence[str], end: str = "") -> None:
    """Print a table, then what is wrong: lines that begin with blanks belong to the one before."""
    texts = ("view", "feature", "verdict")
    print_table(headings, rows, right=tuple(number for number, name in enumerate(headings) if name not in texts))
    for line in lines:
        click.echo(escaped(line if line.startswith(" ") else f"! {line}"))
    if end:
        click.echo(escaped(end))
