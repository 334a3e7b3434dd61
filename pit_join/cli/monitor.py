"""The command `monitor`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.options import Command, check_options, json_option, select_option
from pit_join.cli.output import age, escaped, moment_text, print_table, shown
from pit_join.errors import PitJoinError
from pit_join.json_values import json_text
from pit_join.references import split_list

if TYPE_CHECKING:
    from pit_join.monitoring.findings import FeatureSkew, Monitoring, Skew
    from pit_join.monitoring.freshness import FeatureFreshness, Freshness
    from pit_join.monitoring.mail import Mail
    from pit_join.monitoring.webhook import Webhook

__all__ = ["monitor"]

_OF_SKEW = ("log", "start", "end", "service", "tolerance")
_KINDS = ("rows", "match", "stale", "different", "changed", "fallback", "not_compared")


@click.command(
    "monitor", cls=Command, short_help="Look how fresh features are, and whether served values are those of the rule.",
    sections={
        "Options of the check freshness": ("select", "now"),
        "Options of the check skew": _OF_SKEW,
        "Alerts": ("webhook", "mail_to", "textfile"),
    },
)  # fmt: skip
@click.option(
    "--check", "checks", multiple=True, metavar="NAME[,NAME...]",
    help="freshness or skew; by default skew if there is a --log, else freshness.",
)  # fmt: skip
@select_option("Only these feature views.")
@click.option("--now", metavar="TIME", help="The instant at which ages are judged. Default: the present.")
@click.option("--log", metavar="DIR", help="The folder of a feature log, of serve --feature-log or FeatureLog.")
@click.option("--start", metavar="TIME", help="Only values served from this time on (naive is UTC).")
@click.option("--end", metavar="TIME", help="Only values served before this time.")
@click.option("--service", metavar="NAME", help="Only values served for this feature service.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, metavar="X",
    help="The most that floats of windows may differ, relative to themselves; all else must be equal.",
)  # fmt: skip
@click.option(
    "--webhook", envvar="PIT_JOIN_WEBHOOK", metavar="URL",
    help="Post what is found to this URL (https or http), as JSON. Default: PIT_JOIN_WEBHOOK from the environment.",
)  # fmt: skip
@click.option(
    "--mail-to", metavar="ADDRESS[,ADDRESS...]",
    help="Mail what is found through the server PIT_JOIN_SMTP, such as smtp://user:password@host:587, from "
    "PIT_JOIN_MAIL_FROM.",
)  # fmt: skip
@click.option(
    "--textfile", type=click.Path(path_type=Path), metavar="FILE.prom",
    help="Write the state of this run for the textfile collector of Prometheus's node exporter.",
)  # fmt: skip
@json_option
@click.pass_context
def monitor(
    ctx: click.Context,
    /,
    checks: tuple[str, ...],
    webhook: str | None,
    mail_to: str | None,
    textfile: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Look how fresh features are, and whether what was served is what the rule says.

    freshness: of each feature the newest event time that is known in the warehouse, and in the online store, and how
    old it is. If that is more than the feature's or the view's freshness_slo, it is said where the time was lost: the
    source is silent, its rows were not built, or what was built was not exported. A store can be judged without the
    warehouse.

    skew: the values of a feature log, held against the offline rule at the time when each was served. A match was
    right at that time. A stale value was right only at the last export: the view's lag falls short of the export's
    delay. A different value was right at neither time. A value of a static view that differs has changed since it was
    served.

    Exit status 1 if a feature is too old, or any value is stale or different; otherwise 3 if something could not be
    looked at, which is listed. Alerts are sent in both cases; one that fails is a warning, and changes no status.

    The warehouse is opened once and held, read only, until everything is read: a `dbt build` that starts meanwhile
    waits by the profile's `retries`, or fails. External tables are read once.

    \b
    Examples:
      pit-join monitor
      pit-join monitor --now '2026-03-18 14:30' --select user_activity --json
      pit-join monitor --log feature_log --start '2026-03-18' --service churn_v1
      pit-join monitor --check freshness,skew --log feature_log
      pit-join monitor --mail-to oncall@example.com --textfile /var/lib/node_exporter/pit_join.prom
    """
    for name in _OF_SKEW[1:]:
        check_options(needed=(name, "log"))
    from pit_join.cli.console import bar

    receivers = _receivers(webhook, mail_to)  # before the work, since one may be misspelled
    with bar():
        asked = [name for listed in checks for name in split_list(listed)]
        found = ctx.obj().monitor(checks=asked or None, **options)
    if as_json:
        click.echo(json_text(found.as_json()))
    else:
        _print(found)
    for reason in found.unchecked:
        click.echo(f"warning: {escaped(reason)}", err=True)
    _notify(found, receivers, textfile)
    if found.found:
        ctx.exit(1)
    if found.unchecked:
        ctx.exit(3)


def _receivers(webhook: str | None, mail_to: str | None) -> list[Webhook | Mail]:
    found: list[Webhook | Mail] = []
    if webhook is not None:
        from pit_join.monitoring.webhook import read_webhook

        found.append(read_webhook(webhook))
    if mail_to is not None:
        from pit_join.monitoring.mail import read_mail

        found.append(
            read_mail(mail_to.split(","), os.environ.get("PIT_JOIN_SMTP"), os.environ.get("PIT_JOIN_MAIL_FROM"))
        )
    return found


def _notify(found: Monitoring, receivers: Sequence[Webhook | Mail], textfile: Path | None) -> None:
    acts = [partial(each.send, found) for each in receivers]
    if textfile:
        from pit_join.monitoring.textfile import write_textfile

        acts.insert(0, partial(write_textfile, found, textfile))
    for act in acts:
        try:
            act()
        except PitJoinError as error:
            click.echo(f"warning: {escaped(str(error))}", err=True)


def _print(found: Monitoring) -> None:
    if found.freshness:
        _print_freshness(found.freshness)
    if found.freshness and found.skew:
        click.echo()
    if found.skew:
        _print_skew(found.skew)


def _print_freshness(found: Freshness) -> None:
    """Print a line for the features of a view that are alike."""
    alike: dict[tuple[Any, ...], list[FeatureFreshness]] = {}
    for each in found.features:
        kind = (each.view, each.known, each.served, each.slo, each.lost, each.impact, each.owner)
        alike.setdefault(kind, []).append(each)
    rows = [
        [
            each.view,
            _named(each, others),
            *(_age(found.now, moment) for moment in (each.known, each.served, each.exported_at)),
            "-" if each.slo is None else age(each.slo),
            _verdict(each),
        ]
        for each, *others in alike.values()
    ]
    head = ["view", "feature", "newest known", "newest served", "export", "SLO", "verdict"]
    print_table(head, rows, right=(2, 3, 4, 5))
    for each, *others in alike.values():
        if each.breached:
            why = each.lost or "cannot tell where the time was lost"
            click.echo(escaped(f"! {each.view}: {_named(each, others)}: {why}"))
            for name, text in (("impact", each.impact), ("owner", each.owner)):
                if text:
                    click.echo(escaped(f"    {name}: {text}"))
    click.echo(f"ages at {moment_text(found.now)} UTC")


def _verdict(each: FeatureFreshness) -> str:
    if not each.judged:
        return "not judged" if each.slo else ""
    if not each.breached:
        return "ok" if each.slo else ""
    return "stale" if each.stale else "no value" if each.age is None else "too old"


def _named(each: FeatureFreshness, others: list[FeatureFreshness]) -> str:
    return f"{each.feature} and {len(others):,} more" if others else each.feature


def _age(now: int, moment: int | None) -> str:
    return "-" if moment is None else age((now - moment) / 1e6)


def _print_skew(skew: Skew) -> None:
    if not skew.rows:
        click.echo("no logged rows match")
        return
    columns = [kind for kind in _KINDS if kind in _KINDS[:4] or any(getattr(each, kind) for each in skew.features)]
    rows = [[*_name(each), *(f"{getattr(each, kind):,}" for kind in columns)] for each in skew.features]
    headings = ["view", "feature", *(kind.replace("_", " ") for kind in columns)]
    print_table(headings, rows, right=tuple(range(2, len(headings))))
    for each in skew.stale_views:
        click.echo(
            f"! {each.view}: {each.rows:,} rows are stale, from exports {age(each.age_p50)} old (p90 "
            f"{age(each.age_p90)}); its lag of {age(each.lag)} falls short by {age(each.short_by)}"
        )
    for feature in skew.features:
        for example in feature.examples:
            view, name = _name(feature)
            keys = "".join(f"{key}={value}, " for key, value in example.keys.items())
            served, expected = (
                f"{shown(value)} ({status})"
                for value, status in (
                    (example.served, example.served_status), (example.expected, example.expected_status),
                )
            )  # fmt: skip
            click.echo(f"  {view}:{name}, {keys}{example.served_at:%Y-%m-%d %H:%M:%S}: {served}, not {expected}")
    for line in (*skew.changes, *skew.hints):
        click.echo(f"! {line}")
    totals = {kind: sum(getattr(each, kind) for each in skew.features) for kind in _KINDS[1:5]}
    kinds = ", ".join(f"{total:,} {kind}" for kind, total in totals.items() if total or kind != "changed")
    click.echo(f"{skew.rows:,} rows, {sum(each.rows for each in skew.features):,} values: {kinds}")


def _name(each: FeatureSkew) -> tuple[str, str]:
    """Return the view with its role, and the feature."""
    if each.view == "on_demand":
        return each.view, each.role if each.role == each.feature else f"{each.role} ({each.feature})"
    return each.view if each.role == each.view else f"{each.role} ({each.view})", each.feature
