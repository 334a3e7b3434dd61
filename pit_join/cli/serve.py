"""The command `serve`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pit_join.cli.options import Command, check_options
from pit_join.errors import PitJoinError, with_extra
from pit_join.references import split_list
from pit_join.times import parse_duration, read_instant

__all__ = ["serve"]

_KEY = "PIT_JOIN_API_KEY"


@click.command("serve", cls=Command, short_help="Serve features from the online store over HTTP.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Listen on this address.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=6566, show_default=True,
    help="Listen on this port; 0 picks a free one.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that answer requests."
)
@click.option(
    "--max-body-bytes", type=click.IntRange(min=1), default=4_194_304, show_default=True, metavar="N",
    help="Refuse requests with a larger body.",
)  # fmt: skip
@click.option(
    "--max-rows", type=click.IntRange(min=1), default=10_000, show_default=True, metavar="N",
    help="Refuse requests with more rows.",
)  # fmt: skip
@click.option(
    "--max-connections", type=click.IntRange(min=1), default=4096, show_default=True, metavar="N",
    help="Connections that each process takes at a time; those that wait make room for new ones.",
)  # fmt: skip
@click.option(
    "--request-timeout", default="30 s", show_default=True, metavar="DURATION",
    help="Close a connection whose request does not come whole, or whose answer is not read, within this time.",
)  # fmt: skip
@click.option(
    "--allowed-hosts", metavar="HOST[,HOST...]",
    help="Answer requests only to these names (Host header). Default: on a local address without a key localhost and "
    "the like, otherwise any.",
)  # fmt: skip
@click.option("--feature-log", metavar="DIR", help="Log a sample of served values into this folder, as Parquet files.")
@click.option(
    "--log-sample", type=click.FloatRange(0, 1), default=0.01, show_default=True, metavar="SHARE",
    help="The share of requests that --feature-log logs.",
)  # fmt: skip
@click.option(
    "--deadline", default="50 ms", show_default=True, metavar="DURATION",
    help="The longest wait for a network store; after it the answer has defaults, with a status that says so.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Answer 503 where a store fails, is late, or lacks a view.")
@click.option(
    "--now", metavar="TIME", help="Judge ages as of this time (naive is UTC), for data of the past. Default: the clock."
)
@click.option(
    "--textfile", type=click.Path(path_type=Path), metavar="FILE.prom",
    help="Show the file of monitor --textfile among the metrics, too.",
)  # fmt: skip
@click.option(
    "--report", metavar="FILE.html", help="Show a page of `pit-join report` at /ui, as its file is at the time."
)
@click.option("--access-log", is_flag=True, help="Print a line for each request.")
@click.pass_context
def serve(
    ctx: click.Context,
    host: str,
    port: int,
    workers: int,
    max_body_bytes: int,
    max_rows: int,
    max_connections: int,
    request_timeout: str,
    allowed_hosts: str | None,
    feature_log: str | None,
    log_sample: float,
    deadline: str,
    strict: bool,
    now: str | None,
    textfile: Path | None,
    report: str | None,
    access_log: bool,
) -> None:
    """Answer `POST /get-online-features` in the form of Feast's feature server, until the process is stopped.

    A new export is served with the next request. While a store fails or is late, the declared defaults are served, with
    statuses that say so. If the environment variable PIT_JOIN_API_KEY is set, requests must carry that key; for
    /ui it is the password, with any user. Where
    --store or PIT_JOIN_ONLINE_STORE names the store, no dbt project is needed. The server needs the extra 'serve'.

    \b
    Examples:
      pit-join serve
      pit-join serve --store online/dev --port 8080 --workers 4
      pit-join serve --feature-log feature_log --log-sample 0.05
    """
    check_options(needed=("log_sample", "feature_log"))
    with with_extra("serve", "the server"):
        from pit_join.http.server import Settings
        from pit_join.http.server import serve as run
        from pit_join.http.ui import read_page
    key = os.environ.get(_KEY)
    if key is not None and not key.strip():
        raise PitJoinError(f"{_KEY} is set and empty; give it a key, or unset it to serve without")
    if report is not None:
        read_page(report)
    store = ctx.obj()
    settings = Settings(
        store.online_store,
        store.online_stores,
        api_key=key,
        max_body_bytes=max_body_bytes,
        max_rows=max_rows,
        feature_log=feature_log,
        log_sample=log_sample,
        strict=strict,
        deadline=_seconds("--deadline", deadline),
        now=read_instant(now),
        report=report,
        hosts=None if allowed_hosts is None else frozenset(split_list(allowed_hosts.lower())),
        textfile=textfile,
    )
    run(
        settings,
        host,
        port,
        workers,
        access_log,
        lambda message: click.echo(message, err=True),
        max_connections=max_connections,
        request_seconds=_seconds("--request-timeout", request_timeout),
    )


def _seconds(option: str, given: str) -> float:
    try:
        return parse_duration(given).total_seconds()
    except ValueError as error:
        raise PitJoinError(f"{option}: {error}") from None
