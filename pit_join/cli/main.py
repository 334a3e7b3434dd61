"""The command line: its commands, and errors as messages with exit statuses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click

from pit_join.cli.audit import audit
from pit_join.cli.explain import explain
from pit_join.cli.monitor import monitor
from pit_join.cli.online import export, get, verify
from pit_join.cli.options import WithGlobalOptions
from pit_join.cli.output import escaped
from pit_join.cli.project import backfill, check, dbt_package_path, views
from pit_join.cli.report import report
from pit_join.cli.serve import serve
from pit_join.cli.sets import describe, diff
from pit_join.cli.training import build_training_set
from pit_join.errors import PitJoinError

__all__ = ["main", "run"]


# Feast's names of commands.
_FEAST = {"materialize": "export", "materialize-incremental": "export", "feature-views": "views"}


class _Group(click.Group, WithGlobalOptions):
    """The group of all commands, which turns every `PitJoinError` into a message and an exit status."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where Feast has another name for it, say so."""
        if args and (ours := _FEAST.get(args[0])):
            raise click.UsageError(f"No such command '{args[0]}', which is Feast's; it is pit-join {ours}.", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PitJoinError as error:
            first, *rest = map(escaped, str(error).split("\n"))
            click.echo("\n".join([f"Error: {first}", *(f"       {line}" for line in rest)]), err=True)
            ctx.exit(error.exit_status)
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(0)


def run() -> None:
    """Run the command line as a process of its own, which ends at once when its work is done.

    To free a gigabyte object by object takes longer than to end the process, and DuckDB before 2.0 may abort while it
    frees an interrupted query.
    """
    # No linear algebra is used here, and the threads that NumPy starts for it would wait busily.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Python has no object for a stream that was closed before it started, and the next file would get its number.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    status = 0
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, (int, type(None))):
            raise
        status = ended.code or 0
    except OSError as error:  # a full disk, say; the rest of the buffer must not be written once more at exit
        click.echo(f"Error: the result cannot be printed: {error.strerror or error}", err=True)
        os._exit(2)
    with suppress(OSError, ValueError):  # the reader of a pipe may have ended
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pit-join")
@click.pass_context
def main(ctx: click.Context, /, **given: Any) -> None:
    """A SQL-first feature store: feature views are dbt models, training sets are free of leakage.

    Build the feature views with `dbt build`, then write a spine (one row per example: keys, a time, a label) and
    build a training set from it. `export` brings the latest values to an online store, and `get` reads them there.

    \b
    For example:
      dbt build
      pit-join build-training-set --spine labels --service churn_v1 --output train.parquet
      pit-join export
      pit-join get --entity user_id=42 --service churn_v1

    Global options stand before or after the command. Where one is given in both places, the one after the command
    counts.

    \b
    Exit status:
      0  done
      1  a check found something
      2  bad usage or bad input
      3  the online store, the warehouse, or a table of it, could not be used
      130  interrupted by Ctrl-C
    """
    assert ctx.invoked_subcommand is not None
    # The command's own defaults; what becomes of stores is in their option's callback.
    ctx.default_map = {ctx.invoked_subcommand: {name: given[name] for name in given if name != "stores"}}


for command in (
    audit,
    backfill,
    build_training_set,
    check,
    dbt_package_path,
    describe,
    diff,
    explain,
    export,
    get,
    monitor,
    report,
    serve,
    verify,
    views,
):
    main.add_command(command)
