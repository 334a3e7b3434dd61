"""Options that several commands share, and the global ones, which stand before or after the command."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pit_join.feature_store import FeatureStore

__all__ = ["Command", "WithGlobalOptions"]


class _GlobalOption(click.Option):
    """An option of every command; what its help says after the first sentence is left to `pit-join --help`."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or ctx.parent is None:
            return record
        return record[0], (self.help or "").partition(". ")[0].removesuffix(".") + "."


def _stores(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Return the stores by name, those given before the command too; the one after it counts where both have a name."""
    named = dict(map(_named, value))
    if len(named) < len(value):
        raise click.UsageError("--store names a store twice")
    if not all(named.values()):
        raise click.UsageError("--store is empty; give a folder or a URL")
    before = ctx.parent.params[str(param.name)] if ctx.parent else {}
    return {**before, **named}


def _named(store: str) -> tuple[str, str]:
    """Return the name of an online store, empty for the default one, and its folder or URL."""
    name, equals, url = store.partition("=")
    return (name, url) if equals and re.fullmatch(r"\w+", name) else ("", store)


def _global_options() -> list[click.Parameter]:
    folder = click.Path(path_type=Path)
    return [
        _GlobalOption(
            ["--project-dir"], type=folder, default=Path("."), metavar="DIR", help="Folder with dbt_project.yml."
        ),
        _GlobalOption(
            ["--profiles-dir"], type=folder, metavar="DIR",
            help="Folder with profiles.yml. Default: the project's profiles/, then dbt's own search.",
        ),
        _GlobalOption(["--target"], metavar="NAME", help="Target of the dbt profile. Default: the profile's own."),
        _GlobalOption(
            ["--wait"], type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS",
            help="How long to wait for a warehouse or a store that is locked.",
        ),
        _GlobalOption(
            ["--store", "stores"], multiple=True, callback=_stores, metavar="[NAME=]DIR|URL",
            help="The online store. A folder, or a URL such as redis://host:6379/0; with a name, the store of the "
            "views that declare online_store: NAME. May be given once for each name, before and after the command. "
            "Default: PIT_JOIN_ONLINE_STORE, or PIT_JOIN_ONLINE_STORE_NAME, from the environment; then online/<target> "
            "in the project.",
        ),
    ]  # fmt: skip


class WithGlobalOptions(click.Command):
    """A command that accepts the global options, and lists them in `--help` in a section of their own."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params += _global_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the global ones."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Global options": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                sections["Global options" if isinstance(param, _GlobalOption) else "Options"].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Command(WithGlobalOptions):
    """A command below `pit-join`: its `ctx.obj()` opens the feature store that the global options name."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function with the options of its own."""
        names = [param.name for param in self.params if isinstance(param, _GlobalOption)]
        ctx.obj = partial(_open_store, **{name: ctx.params.pop(name) for name in names})
        return super().invoke(ctx)


def _open_store(stores: dict[str, str], **options: Any) -> FeatureStore:
    from pit_join.feature_store import FeatureStore

    return FeatureStore(
        online_store=stores.get(""),
        online_stores={name: url for name, url in stores.items() if name},
        on_message=partial(click.echo, err=True),
        **options,
    )
