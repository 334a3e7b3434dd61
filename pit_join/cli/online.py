"""The commands of the online store: `export`, `get` and `verify`."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import click

from pit_join.cli.options import Command, check_options, feature_options, json_option, select_option
from pit_join.cli.output import age, print_table, shown
from pit_join.json_values import json_text
from pit_join.times import read_instant

__all__ = ["export", "get", "verify"]


@click.command("export", cls=Command, short_help="Bring the latest feature values to the online store.")
@select_option("Only these views; the others stay as they are. Default: all.")
@click.option("--as-of", metavar="TIME", help="Export the values known at this time (naive is UTC). Default: now.")
@click.option("--dry-run", is_flag=True, help="Print the changes, and make none.")
@json_option
@click.pass_context
def export(ctx: click.Context, select: list[str], as_of: str | None, dry_run: bool, as_json: bool) -> None:
    """Make the online store the snapshot of one instant: the latest values that were known then, of every key.

    Only differences are written, and readers see all of them or none. An earlier --as-of is a rollback; without it an
    export is refused where the store is of a later time, since then a clock is wrong (`--as-of now` rolls back to the
    present). A second export waits until the first has ended (see --wait).

    \b
    Examples:
      pit-join export
      pit-join export --select user_activity --dry-run
      pit-join export --store redis://localhost:6379/0 --as-of '2026-03-18 14:30'
    """
    from pit_join.cli.console import bar

    with bar():
        done = ctx.obj().export(select, as_of=as_of, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(done.as_json()))
        return
    rows = [
        [name, f"{each.written:,}", f"{each.unchanged:,}", f"{each.deleted:,}"]
        for name, each in sorted(done.views.items())
    ]
    print_table(["view", "would write" if dry_run else "written", "unchanged", "deleted"], rows, right=(1, 2, 3))
    subject, of_one = ("the views named", "are") if select else ("the store", "is")
    what = f"nothing was changed; {subject} would be" if dry_run else f"{subject} {of_one}"
    stores = ", ".join(f"{name}={url}" if name else url for name, url in sorted(done.stores.items()))
    click.echo(f"{stores}: {what} as of {done.instant:%Y-%m-%d %H:%M:%S} UTC, {done.seconds:.1f} s")


@click.command("get", cls=Command, short_help="Print one feature vector from the online store.")
@click.option(
    "--entity", "entities", multiple=True, metavar="KEY=VALUE",
    help="A key of the entity, or a request field of on-demand features; may be given more than once, and not at all "
    "where no view has a key. A key that no view has is an error here, and ignored over HTTP.",
)  # fmt: skip
@feature_options
@click.option("--now", metavar="TIME", help="Judge ages as of this time (naive is UTC). Default: now.")
@json_option
@click.pass_context
def get(
    ctx: click.Context,
    entities: tuple[str, ...],
    request: dict[str, Any],
    now: str | None,
    as_json: bool,
) -> None:
    """Print the features of one entity as they are served, with status, event time and age.

    The last line says as of which instant the features were exported.

    \b
    Examples:
      pit-join get --entity user_id=42 --service churn_v1
      pit-join get --entity airport=JFK --features 'weather:*' --now '2026-03-18 14:30'
      pit-join get --entity user_id=42 --entity amount=9.50 --service fraud_v1
      pit-join get --features 'exchange_rates:*'
    """
    given = dict(entity.split("=", 1) for entity in entities if "=" in entity)
    if len(given) < len(entities):
        raise click.UsageError("--entity must be KEY=VALUE, each key once")
    from pit_join.serving.client import describe_entity

    moment = read_instant(now)
    # Strict, since a default that stands for a failed store would hide from the user what is wrong.
    store = ctx.obj()
    reader = store.online_reader(**request, strict=True, deadline=None)
    store.check_named_stores()
    found = describe_entity(reader, given, now=moment)
    if as_json:
        click.echo(json_text(found))
        return
    rows = [
        [name, shown(one["value"]), one["status"], _time(one["event_timestamp"]), age(one["age_seconds"])]
        for name, one in found.items()
    ]
    print_table(["feature", "value", "status", "event time (UTC)", "age"], rows, right=(4,))
    exports: dict[datetime, list[str]] = {}
    for name, one in found.items():
        if one["exported_at"]:
            exports.setdefault(datetime.fromisoformat(one["exported_at"]), []).append(name)
    for instant, names in sorted(exports.items()):
        of = f" of {shown(', '.join(names))}" if len(exports) > 1 else ""
        old = ((moment or datetime.now(timezone.utc)) - instant).total_seconds()
        than_now = "old" if old >= 0 else "later than --now"
        click.echo(f"the export{of} is as of {instant:%Y-%m-%d %H:%M:%S} UTC, {age(abs(old))} {than_now}")


@click.command("verify", cls=Command, short_help="Compare the online store with the offline rule.")
@select_option("Only these views. Default: all in the store.")
@click.option(
    "--sample", type=click.IntRange(min=1), default=10_000, show_default=True, metavar="N",
    help="Compare N keys of each view, drawn at random.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Compare all keys; the store must have no others.")
@json_option
@click.pass_context
def verify(ctx: click.Context, select: list[str], sample: int, every: bool, as_json: bool) -> None:
    """Compare what the store serves with the offline rule at the instant of the export: values, statuses, event times.

    Exit status 1 if anything differs, also in what the store says of its views and services. Run verify after an
    export, on the warehouse that was exported: rows that dbt has added since may have been known at that instant. A
    static view has no history, so what differs there has changed since the export, which is printed and is not a
    difference.

    The warehouse is opened once and held, read only, until everything is compared: a `dbt build` that starts meanwhile
    waits by the profile's `retries`, or fails. External tables are read once.

    \b
    Examples:
      pit-join verify
      pit-join verify --select user_activity --all
    """
    from pit_join.cli.console import bar

    check_options(exclusive=("sample", "every"))
    with bar():
        found = ctx.obj().verify(select, sample=None if every else sample)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        shown = found.differences[:20]
        if shown:
            rows = [
                [
                    one.view,
                    ", ".join(f"{k}={v}" for k, v in one.key.items()) or "-",
                    one.feature,
                    *("sensitive" if one.sensitive else repr(side) for side in (one.offline, one.online)),
                ]
                for one in shown
            ]
            print_table(["view", "key", "feature", "offline", "online"], rows)
        keys = sum(found.keys.values())
        more = f" ({len(shown)} are shown)" if found.found > len(shown) else ""
        click.echo(
            f"{len(found.keys)} views, {keys:,} keys, {found.values:,} values compared: {found.found:,} differences"
            + more
        )
        for view, number in found.changed.items():
            click.echo(f"! {view}: {number:,} differences: the view is static, and has changed since the export")
        for sentence in found.descriptions:
            click.echo(f"! {sentence}; run pit-join export")
    if found.found or found.descriptions:
        ctx.exit(1)


def _time(iso: str | None) -> str:
    return iso.replace("T", " ").removesuffix("+00:00") if iso else "-"
