"""The command line. Only options, messages and exit statuses are here; what is done is in the modules below."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pit_join.cli.monitor import monitor
from pit_join.cli.online import export, get, verify
from pit_join.cli.serve import serve
from pit_join.errors import PitJoinError

if TYPE_CHECKING:
    from pit_join.feature_store import FeatureStore

from pit_join.cli.project import backfill, dbt_package_path, views
from pit_join.cli.training import build_training_set

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


for command in (backfill, build_training_set, dbt_package_path, export, get, monitor, serve, verify, views):
    main.add_command(command)


def _named(store: str) -> tuple[str, str]:
    """The name of an online store, empty for the default one, and its folder or URL."""
    name, equals, url = store.partition("=")
    return (name, url) if equals and re.fullmatch(r"\w+", name) else ("", store)


def _say(message: str) -> None:
    click.echo(message, err=True)
