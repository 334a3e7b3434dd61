"""The command `report`."""

from __future__ import annotations

from pathlib import Path

import click

from pit_join.cli.options import Command
from pit_join.cli.output import escaped

__all__ = ["report"]

_FILE = click.Path(path_type=Path)


@click.command("report", cls=Command, short_help="Write one HTML page: catalogue, lineage, monitoring, findings.")
@click.option("--output", required=True, type=_FILE, metavar="FILE.html", help="The page, which needs no other file.")
@click.option(
    "--training-set", "training_sets", multiple=True, type=_FILE, metavar="FILE",
    help="Show the coverage of a training set (.parquet or .arrow). May be given more than once.",
)  # fmt: skip
@click.option(
    "--audit", "audits", multiple=True, type=_FILE, metavar="FILE.json",
    help="Show the findings that `pit-join audit FILE --json` printed. May be given more than once.",
)  # fmt: skip
@click.option(
    "--explain", "explanations", multiple=True, type=_FILE, metavar="FILE.json",
    help="Draw what `pit-join explain --json` printed. May be given more than once.",
)  # fmt: skip
@click.option(
    "--monitoring", type=_FILE, metavar="DIR",
    help="Folder with the results of `pit-join monitor`. Default: monitoring/<target> in the project.",
)  # fmt: skip
@click.option(
    "--dbt-docs", metavar="URL",
    help="Link models to dbt docs, at an address or at a path relative to the page, such as ../index.html.",
)  # fmt: skip
@click.pass_context
def report(
    ctx: click.Context,
    output: Path,
    training_sets: tuple[Path, ...],
    audits: tuple[Path, ...],
    explanations: tuple[Path, ...],
    monitoring: Path | None,
    dbt_docs: str | None,
) -> None:
    """Write one HTML page that shows the project, for a browser without a network.

    It has the feature views with their features, settings, owners and freshness, the feature services, the on-demand
    features, a search over all of them, the lineage from sources to services, and the last results of monitoring. It
    works where nothing is built or exported yet, and says so. Values and keys that are declared `sensitive` are not on
    it.

    \b
    Examples:
      pit-join report --output features.html
      pit-join report --output features.html --training-set train.parquet --dbt-docs https://docs.example.com
      pit-join audit theirs.csv --json > audit.json; pit-join report --output features.html --audit audit.json
    """
    written = ctx.obj().report(
        output,
        training_sets=training_sets,
        audits=audits,
        explanations=explanations,
        monitoring=monitoring,
        dbt_docs=dbt_docs,
    )
    for note in written.notes:
        click.echo(escaped(f"! {note}"))
    breaches = "" if written.breaches is None else f", {written.breaches:,} breaches"
    click.echo(
        f"{escaped(str(written.path))}: {written.views:,} feature views, {written.features:,} features, "
        f"{written.services:,} services{breaches}"
    )
