"""The command `build-training-set`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import Command, check_options, feature_options
from pit_join.cli.output import escaped, print_table

if TYPE_CHECKING:
    from pit_join.training.result import Coverage

__all__ = ["build_training_set"]

# What a file says of itself, and what builds no file.
_OF_THE_SET = (
    "spine", "features", "service", "roles", "event_timestamp", "gap", "full_feature_names", "provenance",
    "no_defaults", "window_plan", "sql_only", "explain_plan", "output_table",
)  # fmt: skip


@click.command("build-training-set", cls=Command, short_help="Join features to a spine, as known at each row's time.")
@click.option("--spine", metavar="NAME|FILE", help="Seed, model, or CSV or Parquet file: keys, time, labels.")
@feature_options
@click.option(
    "--from-metadata", type=click.Path(path_type=Path), metavar="FILE",
    help="Build the set of this .parquet or .arrow file again, for its own spine and with its own options.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path),
    help="The file to write: .parquet, .csv or .arrow. Required without --output-table, --sql and --explain-plan.",
)  # fmt: skip
@click.option(
    "--output-table", metavar="[SCHEMA.]NAME",
    help="Make the set as a table of the warehouse instead, on DuckDB or PostgreSQL. The default schema is that of the "
    "dbt target.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the table of --output-table, which must not be one of dbt's.")
@click.option(
    "--event-timestamp", default="event_timestamp", show_default=True, metavar="COLUMN",
    help="The spine's time column; a naive time is UTC.",
)  # fmt: skip
@click.option(
    "--gap", metavar="DURATION",
    help="Predict ahead: use only values known this long before each row's time, such as '1 day'.",
)  # fmt: skip
@click.option("--provenance", is_flag=True, help="Add <view>__event_timestamp and <view>__status columns.")
@click.option("--sql", "sql_only", is_flag=True, help="Print the SQL, which a build runs in steps, and build nothing.")
@click.option("--explain-plan", is_flag=True, help="Print how each view would be joined and why, and build nothing.")
@click.option(
    "--window-plan", type=click.Choice(["range", "stacked"]),
    help="Join window views by this plan instead of the cheaper one by estimate: range compares each row with the "
    "events near it, stacked computes running sums once for all windows.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the coverage, or the plans, as JSON.")
@click.pass_context
def build_training_set(
    ctx: click.Context,
    /,
    spine: str | None,
    request: dict[str, Any] | None,
    from_metadata: Path | None,
    output: Path | None,
    output_table: str | None,
    overwrite: bool,
    sql_only: bool,
    explain_plan: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Join features to a spine, each as it was known at the row's time.

    Rows come back as given: same number, same order, duplicates kept; a table has no order. The output appears whole or
    not at all.

    \b
    Examples:
      pit-join build-training-set --spine labels --service churn_v1 --output train.parquet
      pit-join build-training-set --spine labels.csv --features 'user_activity:*' --output train.csv
      pit-join build-training-set --spine trips --role 'dest_weather=weather(airport=dest)' \\
          --features weather:temp,dest_weather:temp --gap '1 hour' --output trips.parquet
      pit-join build-training-set --spine labels --service churn_v1 --output-table ml.train --overwrite
      pit-join build-training-set --from-metadata train.parquet --output again.parquet
    """
    from pit_join.cli.console import bar
    from pit_join.warehouse.table_files import check_output

    for name in _OF_THE_SET:
        check_options(exclusive=("from_metadata", name))
    check_options(exclusive=("output", "output_table", "sql_only", "explain_plan"))
    check_options(needed=("overwrite", "output_table"))
    check_options(exclusive=("sql_only", "as_json"))
    if from_metadata is None and spine is None:
        raise click.UsageError("give --spine, or --from-metadata to build the set of a file again")
    if not sql_only and not explain_plan:
        if output is None and output_table is None:
            raise click.UsageError(
                "give --output FILE (.parquet, .csv or .arrow), --output-table NAME, --sql to see the SQL, or "
                "--explain-plan to see how views are joined"
            )
        if output is not None:
            check_output(output)
    started, store = time.monotonic(), ctx.obj()
    if request is None:
        build = partial(store.rebuild_training_set, from_metadata)
    else:
        prepared = store.prepare_training_set(spine, **request, **options)
        if sql_only:
            click.echo(prepared.sql())
            return
        if explain_plan:
            _print_plans(prepared.plan(), as_json)
            return
        if output_table is not None:
            with bar():
                made = prepared.create_table(output_table, overwrite=overwrite)
            _print_built(made.coverage, made.name, (made.rows, len(made.columns)), started, as_json)
            return
        build = prepared.run
    assert output is not None
    with bar():
        built = build()
    built.write(output)
    _print_built(built.coverage, str(output), built.to_arrow().shape, started, as_json)


def _print_plans(plans: Mapping[str, tuple[str, str]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({alias: {"plan": plan, "why": why} for alias, (plan, why) in plans.items()}))
    else:
        print_table(["view", "plan", "why"], [[alias, *plan] for alias, plan in plans.items()])


def _print_built(
    coverage: tuple[Coverage, ...], output: str, shape: tuple[int, int], started: float, as_json: bool
) -> None:
    (rows, columns), seconds = shape, time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_as_json(coverage, rows, output, seconds)))
    else:
        _print_coverage(coverage)
        click.echo(f"{escaped(output)}: {rows:,} rows, {columns} columns, {seconds:.1f} s")


def _print_coverage(coverage: tuple[Coverage, ...]) -> None:
    from pit_join.training.result import coverage_hints, coverage_table

    headings, rows = coverage_table(coverage)
    print_table(headings, rows, right=tuple(range(1, len(headings))))
    for hint in coverage_hints(coverage):
        click.echo(escaped(f"! {hint}"))


def _as_json(coverage: tuple[Coverage, ...], rows: int, output: str, seconds: float) -> dict[str, Any]:
    return {
        "output": output,
        "rows": rows,
        "seconds": round(seconds, 3),
        "views": [
            {
                "view": met.view,
                "alias": met.alias,
                "matched": met.matched,
                "statuses": dict(met.statuses),
                "age_seconds": dict(met.ages),
                "history_rows": met.history_rows,
                "undated_rows": met.undated,
                "seconds": round(met.seconds, 3),
                "hints": list(met.hints),
            }
            for met in coverage
        ],
    }
