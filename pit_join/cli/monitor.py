"""The command `monitor`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.monitor_tables import print_findings
from pit_join.cli.options import Command, check_options, json_option, select_option
from pit_join.cli.output import escaped
from pit_join.errors import PitJoinError
from pit_join.json_values import json_text
from pit_join.references import split_list

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring
    from pit_join.monitoring.mail import Mail
    from pit_join.monitoring.webhook import Webhook

__all__ = ["monitor"]

_OF_LOG = ("log", "start", "end", "service")
_OF_DRIFT = ("baseline", "baseline_start", "baseline_end", "baseline_as_of")


@click.command(
    "monitor", cls=Command, short_help="Check freshness, nulls, defaults, drift, and served values against the rule.",
    sections={
        "What was served": _OF_LOG,
        "Options of the check drift": _OF_DRIFT,
        "Options of the check skew": ("tolerance",),
        "Alerts": ("webhook", "mail_to", "textfile"),
    },
)  # fmt: skip
@click.option(
    "--check", "checks", multiple=True, metavar="NAME[,NAME...]",
    help="freshness, rates, drift or skew; by default all that have what they need.",
)  # fmt: skip
@select_option("Only these feature views.")
@click.option("--now", metavar="TIME", help="The instant of ages and of snapshots. Default: the present.")
@click.option("--log", metavar="DIR", help="The folder of a feature log, of serve --feature-log or FeatureLog.")
@click.option("--start", metavar="TIME", help="Only values served from this time on (naive is UTC).")
@click.option("--end", metavar="TIME", help="Only values served before this time.")
@click.option("--service", metavar="NAME", help="Only values served for this feature service.")
@click.option(
    "--baseline", metavar="PATH", help="What the log is held against: a training set (.parquet), or another log."
)
@click.option("--baseline-start", metavar="TIME", help="Only values of that other log from this time on.")
@click.option("--baseline-end", metavar="TIME", help="Only values of that other log before this time.")
@click.option(
    "--baseline-as-of", metavar="TIME", help="Without a log: the earlier snapshot that today's is held against."
)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, metavar="X",
    help="The most that floats of windows may differ, relative to themselves; all else must be equal.",
)  # fmt: skip
@click.option(
    "--results", metavar="DIR",
    help="Where results are kept, for trends and reports. Default: monitoring/<target> in the project.",
)  # fmt: skip
@click.option("--no-results", is_flag=True, help="Keep no results.")
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
    results: str | None,
    no_results: bool,
    webhook: str | None,
    mail_to: str | None,
    textfile: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check how fresh and complete features are, whether they drift, and whether what was served is right.

    freshness: of each feature the newest event time that is known in the warehouse, and in the online store, and how
    old it is. If that is more than the feature's or the view's freshness_slo, it is said where the time was lost: the
    source is silent, its rows were not built, or what was built was not exported. A store can be judged without the
    warehouse.

    rates: the shares of nulls and of defaults, in the warehouse's newest values, in the online store, and in a log,
    held against max_null_rate and max_default_rate.

    drift: how far the values of a log have moved from those of a training set or of another log, or those of the
    warehouse from an earlier instant. An alarm needs a stability index (PSI) over 0.2, or `drift: {psi: ...}`, and
    more than chance.

    skew: the values of a feature log, held against the offline rule at the time when each was served. A match was
    right at that time. A stale value was right only at the last export: the view's lag falls short of the export's
    delay. A different value was right at neither time. A value of a static view that differs has changed since it was
    served.

    Exit status 1 if a check found something; otherwise 3 if something could not be looked at, which is listed. Alerts
    are sent in both cases; one that fails is a warning, and changes no status.

    The warehouse is opened once by each check and held, read only, until everything is read: a `dbt build` that starts
    meanwhile waits by the profile's `retries`, or fails. External tables are read once by each check.

    \b
    Examples:
      pit-join monitor
      pit-join monitor --now '2026-03-18 14:30' --select user_activity --json
      pit-join monitor --log feature_log --start '2026-03-18' --service churn_v1
      pit-join monitor --check drift --log feature_log --baseline training_set.parquet
      pit-join monitor --check drift --baseline-as-of '2026-03-11'
      pit-join monitor --mail-to oncall@example.com --textfile /var/lib/node_exporter/pit_join.prom
    """
    for name in (*_OF_LOG[1:], "tolerance", "baseline"):
        check_options(needed=(name, "log"))
    for name in ("baseline_start", "baseline_end"):
        check_options(needed=(name, "baseline"))
    from pit_join.cli.console import bar

    receivers = _receivers(webhook, mail_to)  # before the work, since one may be misspelled
    with bar():
        asked = [name for listed in checks for name in split_list(listed)]
        store = ctx.obj()
        kept = None if no_results else results or store.results_folder()
        found = store.monitor(checks=asked, results=kept, **options)
    if as_json:
        click.echo(json_text(found.as_json()))
    else:
        print_findings(found)
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
