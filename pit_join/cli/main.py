"""The command line. Only options, messages and exit statuses are here; what is done is in the modules below."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.monitor import monitor
from pit_join.cli.online import export, get, verify
from pit_join.cli.output import age, print_table, progress
from pit_join.cli.serve import serve
from pit_join.errors import PitJoinError

if TYPE_CHECKING:
    from pit_join.feature_store import FeatureStore
    from pit_join.training.result import Coverage

__all__ = ["main", "run"]


class _Group(click.Group):
    """Turns every error of ours into a message on standard error and its exit status, in this one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PitJoinError as error:
            first, *rest = str(error).split("\n")
            click.echo("\n".join([f"Error: {first}", *(f"       {line}" for line in rest)]), err=True)
            ctx.exit(error.exit_status)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(0)


def run() -> None:
    """The command as a process of its own.

    It ends at once when all is done: to give back a gigabyte object by object takes longer than the system needs, and
    DuckDB before 2.0 may abort where a query that was interrupted is given back.
    """
    # NumPy is used without linear algebra, whose threads would only wait, and busily.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status = 0
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, (int, type(None))):
            raise
        status = ended.code or 0
    except OSError as error:  # standard output is a full disk, say; what is left in its buffer must not be tried again
        click.echo(f"Error: the result cannot be printed: {error.strerror or error}", err=True)
        os._exit(2)
    with suppress(OSError, ValueError):  # nobody may be left who reads
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--project-dir", type=click.Path(path_type=Path), default=Path("."), help="Folder with dbt_project.yml.")
@click.option(
    "--profiles-dir",
    type=click.Path(path_type=Path),
    help="Folder with profiles.yml. Default: the project's profiles/, then dbt's own search.",
)
@click.option("--target", help="Target of the dbt profile. Default: the profile's own.")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS",
    help="How long to wait for a warehouse that another process holds.",
)  # fmt: skip
@click.option(
    "--store", "stores", multiple=True, metavar="[NAME=]DIR|URL",
    help="The online store: a folder, or such as redis://host:6379/0. With a name, the store of the views that have "
    "online_store: NAME. Default: what PIT_JOIN_ONLINE_STORE, or PIT_JOIN_ONLINE_STORE_NAME, says; then "
    "online/<target> in the project.",
)  # fmt: skip
@click.version_option(package_name="pit-join")
@click.pass_context
def main(
    ctx: click.Context,
    project_dir: Path,
    profiles_dir: Path | None,
    target: str | None,
    wait: float,
    stores: tuple[str, ...],
) -> None:
    """A SQL-first feature store: feature views are dbt models, training sets know nothing too early.

    Build the feature views with `dbt build`, then write a spine (one row per example: keys, a time, a label) and
    build a training set from it. `export` brings the latest values to an online store, and `get` reads them there.

    \b
    Exit status:
      0  done
      1  a check found something
      2  bad usage or bad input
      3  the online store, the warehouse, or a table of it, could not be used
    """
    named = dict(map(_named, stores))
    if len(named) < len(stores):
        raise click.UsageError("--store names a store twice")
    if not all(named.values()):
        raise click.UsageError("--store is empty; give a folder or a URL")

    def open_store() -> FeatureStore:
        from pit_join.feature_store import FeatureStore

        return FeatureStore(
            project_dir,
            profiles_dir=profiles_dir,
            target=target,
            online_store=named.get(""),
            online_stores={name: url for name, url in named.items() if name},
            wait=wait,
            on_message=_say,
        )

    ctx.obj = open_store


@main.command("build-training-set", short_help="Join features to a spine, as known at each row's time.")
@click.option(
    "--spine", required=True, metavar="NAME|FILE", help="Seed, model, or CSV or Parquet file: keys, time, labels."
)
@click.option(
    "--features", "features", multiple=True, metavar="REF[,REF...]",
    help="view:feature, or view:* for all. May be given more than once.",
)  # fmt: skip
@click.option("--service", metavar="NAME", help="A feature service (exposure) instead of --features.")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write: .parquet, .csv or .arrow.")
@click.option(
    "--event-timestamp", default="event_timestamp", show_default=True, metavar="COLUMN",
    help="The spine's time column; a naive time is UTC.",
)  # fmt: skip
@click.option(
    "--view", "views", multiple=True, metavar="SPEC",
    help="A view in a role, or with keys that the spine calls otherwise: 'dest_weather=weather(airport=dest)'.",
)  # fmt: skip
@click.option(
    "--gap", metavar="DURATION", help="Predict this long ahead, such as '1 day': only what was known then counts."
)
@click.option("--full-feature-names", is_flag=True, help="Name every feature view__feature.")
@click.option("--provenance", is_flag=True, help="Add <view>__event_timestamp and <view>__status columns.")
@click.option("--no-defaults", is_flag=True, help="Keep nulls instead of the declared defaults.")
@click.option("--sql", "sql_only", is_flag=True, help="Print the SQL and build nothing.")
@click.option("--plan", "plan_only", is_flag=True, help="Print how each view would be joined and why; build nothing.")
@click.option(
    "--window-plan", type=click.Choice(["range", "stacked"]),
    help="Join window views by this plan instead of the one that looks cheaper.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the coverage as JSON.")
@click.pass_context
def build_training_set(
    ctx: click.Context,
    spine: str,
    features: tuple[str, ...],
    service: str | None,
    output: Path | None,
    event_timestamp: str,
    views: tuple[str, ...],
    gap: str | None,
    full_feature_names: bool,
    provenance: bool,
    no_defaults: bool,
    sql_only: bool,
    plan_only: bool,
    window_plan: str | None,
    as_json: bool,
) -> None:
    """Join features to a spine, each as it was known at the row's time.

    Rows come back as given: same number, same order, duplicates kept. The output appears whole or not at all.

    \b
    Examples:
      pit-join build-training-set --spine labels --service churn_v1 --output train.parquet
      pit-join build-training-set --spine labels.csv --features 'user_activity:*' --output train.csv
      pit-join build-training-set --spine trips --view 'dest_weather=weather(airport=dest)' \\
          --features weather:temp,dest_weather:temp --gap '1 hour' --output trips.parquet
    """
    from pit_join.files import check_output
    from pit_join.references import split_list

    if bool(features) == bool(service):
        raise click.UsageError("give either --features or --service")
    if service and views:
        raise click.UsageError("--view goes with --features; a service has its own roles")
    builds = not sql_only and not plan_only
    if output is None and builds:
        raise click.UsageError(
            "give --output FILE (.parquet, .csv or .arrow), --sql to see the SQL, or --plan to see how views are joined"
        )
    if output is not None and builds:
        check_output(output)
    started = time.monotonic()
    with progress() as on_progress:
        built = ctx.obj().get_historical_features(
            spine,
            service or [ref for listed in features for ref in split_list(listed)],
            views=views,
            event_timestamp=event_timestamp,
            gap=gap,
            full_feature_names=full_feature_names,
            provenance=provenance,
            defaults=not no_defaults,
            sql_only=sql_only,
            plan_only=plan_only,
            window_plan=window_plan,
            on_progress=on_progress,
        )
    if sql_only:
        click.echo(built.sql)
        return
    if plan_only:
        plans = built.metadata["plans"]
        if as_json:
            click.echo(json.dumps({alias: {"plan": plan, "why": why} for alias, (plan, why) in plans.items()}))
        else:
            print_table(["view", "plan", "why"], [[alias, *plan] for alias, plan in plans.items()])
        return
    assert output is not None
    built.write(output)
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_as_json(built.coverage, built.to_arrow().num_rows, str(output), seconds)))
        return
    _print_coverage(built.coverage)
    table = built.to_arrow()
    click.echo(f"{output}: {table.num_rows:,} rows, {table.num_columns} columns, {seconds:.1f} s")


@main.command("views", short_help="List the feature views and what is stored of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def views(ctx: click.Context, as_json: bool) -> None:
    """List the feature views: entity, keys, times, features, rows and newest value.

    A view that dbt has not built yet is listed without rows.
    """
    described = ctx.obj().describe_views()
    if as_json:
        click.echo(json.dumps(described))
        return
    if not described:
        click.echo(
            "no feature views: a model becomes one by config.event_time and config.meta.pit_join (entity, join_keys)"
        )
        return
    rows = [
        [
            view["name"],
            f"{view['entity']} ({', '.join(view['join_keys'])})",
            view["event_timestamp"] + (f" / {view['created_timestamp']}" if view["created_timestamp"] else ""),
            view["ttl"] or "-",
            view["lag"] or "-",
            str(len(view["features"])),
            "not built" if view["rows"] is None else f"{view['rows']:,}",
            view["newest"] or "-",
        ]
        for view in described
    ]
    print_table(
        ["view", "entity (keys)", "event time / created", "ttl", "lag", "features", "rows", "newest"],
        rows,
        right=(5, 6),
    )
    for view in described:
        windows = ", ".join(dict.fromkeys((view["windows"] or {}).values()))
        note = f" (windows of {windows}, closed {view['closed']})" if windows else ""
        click.echo(f"{view['name']}{note}: {', '.join(view['features'])}")


@main.command("backfill", short_help="Run the batches that the stored history of microbatch models lacks.")
@click.argument("views", nargs=-1, metavar="[VIEW]...")
@click.option("--from", "start", metavar="TIME", help="First batch: the one that holds this time. Default: `begin`.")
@click.option(
    "--to", "end", metavar="TIME",
    help="Where the batches end, exclusive. Default: after the last one with a row, of the model or of its inputs.",
)  # fmt: skip
@click.option("--plan/--apply", "plan", default=None, help="Print what is to be done, or do it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def backfill(
    ctx: click.Context, views: tuple[str, ...], start: str | None, end: str | None, plan: bool | None, as_json: bool
) -> None:
    """Find, and run, the batches that are missing from microbatch models: all of them, or those named.

    A batch has to be run if it never was, if it failed, if its rows are no longer as many as it had, if it was not
    over when it ran, or if its definition has changed since: code, settings, a macro, or any of these of what it
    reads. What was done is kept in a file beside the warehouse, so a backfill that was killed goes on where it was.
    Times are UTC.

    \b
    Examples:
      pit-join backfill --plan
      pit-join backfill payment_history --from 2026-03-01 --to 2026-04-01 --apply
    """
    from pit_join.cli.backfill_report import report

    if plan is None:
        raise click.UsageError("give --plan to see what is to be done, or --apply to do it")
    with nullcontext(None) if plan else progress() as on_progress:
        watched = {} if on_progress is None else {"on_progress": on_progress}
        found = ctx.obj().backfill(views, start=start, end=end, apply=not plan, **watched)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        table, lines = report(found)
        if table:
            print_table(["model", "batches", "number", "why", "rows", "time"], table, right=(2, 4, 5))
        click.echo("\n".join(lines))
    if not found.complete:
        ctx.exit(1)


for command in (export, get, monitor, serve, verify):
    main.add_command(command)


@main.command("dbt-package-path", short_help="Print the folder of the macros as a dbt package.")
def dbt_package_path() -> None:
    """Print the folder with the macros as a dbt package, for any project's packages.yml.

    \b
    Example:
      printf 'packages:\\n  - local: %s\\n' "$(pit-join dbt-package-path)" > packages.yml
      dbt deps
    """
    click.echo(Path(__file__).resolve().parent / "dbt_package")


def _named(store: str) -> tuple[str, str]:
    """The name of an online store, empty for the default one, and its folder or URL."""
    name, equals, url = store.partition("=")
    return (name, url) if equals and re.fullmatch(r"\w+", name) else ("", store)


def _say(message: str) -> None:
    click.echo(message, err=True)


def _print_coverage(coverage: tuple[Coverage, ...]) -> None:
    headings = {
        "NULL_VALUE": "null value", "OUTSIDE_MAX_AGE": "too old", "NOT_YET_KNOWN": "not yet known",
        "NOT_FOUND": "not found", "NULL_KEY": "null key",
    }  # fmt: skip
    shown = [status for status in headings if any(met.statuses[status] for met in coverage)]
    rows = [
        [
            met.alias if met.alias == met.view else f"{met.alias} ({met.view})",
            f"{met.matched:,} of {met.rows:,}",
            *(f"{met.statuses[status]:,}" for status in shown),
            *(age(met.ages.get(point)) for point in ("p50", "p90", "max")),
            f"{met.seconds:.2f} s",
        ]
        for met in coverage
    ]
    columns = ["view", "matched", *(headings[s] for s in shown), "age p50", "p90", "max", "time"]
    print_table(columns, rows, right=tuple(range(1, len(columns))))
    for met in coverage:
        for hint in met.hints:
            click.echo(f"! {met.alias}: {hint}")


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
