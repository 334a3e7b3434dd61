"""The commands on a project: `views`, `check`, `backfill` and `dbt-package-path`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from pit_join.cli.options import Command, check_options, json_option, select_option
from pit_join.cli.output import print_table
from pit_join.json_values import json_text
from pit_join.references import listed

__all__ = ["backfill", "check", "dbt_package_path", "views"]


@click.command("views", cls=Command, short_help="List the feature views, services and on-demand features.")
@json_option
@click.option("--all", "everything", is_flag=True, help="With --json: services and on-demand features, too.")
@click.pass_context
def views(ctx: click.Context, as_json: bool, everything: bool) -> None:
    """List the feature views: entity, keys, times, features, rows and newest value.

    A view that dbt has not built yet is listed without rows. Feature services and on-demand features follow, with
    their descriptions.

    --json prints a list of the views; with --all it is an object of the lists `views`, `services` and `on_demand`.

    \b
    Examples:
      pit-join views
      pit-join views --target prod --json
      pit-join views --json --all
    """
    check_options(needed=("everything", "as_json"))
    store = ctx.obj()
    described = store.describe_views()
    if as_json and not everything:
        click.echo(json.dumps(described))
        return
    services, on_demand = store.describe_services(), store.describe_on_demand()
    if as_json:
        click.echo(json_text({"views": described, "services": services, "on_demand": on_demand}))
        return
    _print_views(described)
    if services:
        _print_services(services)
    if on_demand:
        _print_on_demand(on_demand)


def _print_views(described: list[dict[str, Any]]) -> None:
    if not described:
        click.echo(
            "no feature views: a model becomes one by config.event_time and config.meta.pit_join (entity, join_keys)"
        )
        return
    rows = [
        [
            f"{view['name']} (latest)" if view.get("latest") else view["name"],
            f"{view['entity']} ({listed(view['join_keys'])})" if view["join_keys"] else "every row",
            " / ".join(filter(None, (view["event_timestamp"], view["created_timestamp"]))) or "static",
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
        click.echo(f"{listed([view['name']])}{note}: {listed(view['features'])}")


def _print_services(described: list[dict[str, Any]]) -> None:
    rows = [[one["name"], str(len(one["features"])), _one_line(one["description"])] for one in described]
    click.echo()
    print_table(["service", "features", "description"], rows, right=(1,))


def _print_on_demand(described: list[dict[str, Any]]) -> None:
    rows = [
        [
            one["name"],
            ", ".join(f"{name} {kind}" for name, kind in one["arguments"].items()) or "-",
            one["returns"],
            _one_line(one["description"]),
        ]
        for one in described
    ]
    click.echo()
    print_table(["on-demand feature", "arguments", "returns", "description"], rows)


def _one_line(description: str) -> str:
    return " ".join(description.split()) or "-"


@click.command("check", cls=Command, short_help="Find everything that is wrong with the project.")
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Find what is wrong with the feature views, services and on-demand features, without reading a row.

    Every problem is printed with its file and key. Where dbt has built a view, the columns and types of its table are
    checked too. The exit status is 1 if there is a problem.

    \b
    Examples:
      pit-join check && dbt build
      pit-join check --json
    """
    found = ctx.obj().check()
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        for problem in found.problems:
            click.echo(problem)
        if found.not_built:
            click.echo(f"not built yet, so their tables were not checked: {listed(found.not_built)}")
        if found.static:
            click.echo(
                f"static, so that a training set leaks if their values change after the label: {listed(found.static)}"
            )
        if found.problems:
            click.echo(f"{len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}")
        else:
            parts = (
                (found.views, "feature views"),
                (found.services, "services"),
                (found.on_demand, "on-demand features"),
            )
            counts = ", ".join(f"{number} {what}" for number, what in parts)
            click.echo(f"{found.project}: {counts}, no problem")
    if found.problems:
        ctx.exit(1)


@click.command(
    "backfill", cls=Command, options_metavar="{--dry-run | --apply} [OPTIONS]",
    short_help="Run the missing batches of microbatch models.",
)  # fmt: skip
@select_option("Only these models. Default: all microbatch models.")
@click.option("--start", metavar="TIME", help="Begin with the batch of this time. Default: the model's `begin`.")
@click.option(
    "--end", metavar="TIME",
    help="End before this time. Default: after the last batch with a row of the model or of its inputs, or in which an "
    "event leaves a window.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the batches to run, and run none.")
@click.option("--apply", is_flag=True, help="Run the batches. Give this or --dry-run.")
@json_option
@click.pass_context
def backfill(
    ctx: click.Context, select: list[str], start: str | None, end: str | None, dry_run: bool, apply: bool, as_json: bool
) -> None:
    """Find and run the missing batches of microbatch models.

    A batch is run if it never ran or failed, if its number of rows has changed, if its time was not over when it ran,
    or if its definition has changed since: its code, settings, a macro, or any of these of its inputs. A file beside
    the warehouse records the batches that are done, so a killed backfill resumes where it was. Times are UTC.

    \b
    Examples:
      pit-join backfill --dry-run
      pit-join backfill --select payment_history --start 2026-03-01 --end 2026-04-01 --apply
    """
    from pit_join.cli.backfill_report import report
    from pit_join.cli.console import bar

    check_options(exclusive=("dry_run", "apply"))
    if not dry_run and not apply:
        raise click.UsageError("give --dry-run to see what is to be done, or --apply to do it")
    with nullcontext() if dry_run else bar():
        found = ctx.obj().backfill(select, start=start, end=end, apply=apply)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        table, lines = report(found)
        if table:
            print_table(["model", "batches", "number", "why", "rows", "time"], table, right=(2, 4, 5))
        click.echo("\n".join(lines))
    if not found.complete:
        ctx.exit(1)


@click.command("dbt-package-path", cls=Command, short_help="Print the folder of the macros as a dbt package.")
def dbt_package_path() -> None:
    """Print the folder with the macros as a dbt package, for any project's packages.yml.

    \b
    Example:
      printf 'packages:\\n  - local: %s\\n' "$(pit-join dbt-package-path)" > packages.yml
      dbt deps
    """
    click.echo(Path(__file__).resolve().parents[1] / "dbt_package")
