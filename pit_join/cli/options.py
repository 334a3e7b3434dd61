"""Global options, before or after the command, and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pit_join.errors import command_line
from pit_join.references import split_list

if TYPE_CHECKING:
    from pit_join.feature_store import FeatureStore

__all__ = [
    "Command", "WithGlobalOptions", "check_options", "feature_choice", "feature_options", "json_option", "listed_pairs",
    "select_option",
]  # fmt: skip


class _GlobalOption(click.Option):
    """An option of every command; only `pit-join --help` shows more than the first sentence of its help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or ctx.parent is None:
            return record
        return record[0], (self.help or "").partition(". ")[0].removesuffix(".") + "."


def _stores(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Return the stores by name, with those given before the command; of two with one name the one after it counts."""
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


_FOLDER = click.Path(path_type=Path)
_GLOBAL: tuple[click.Parameter, ...] = (
    _GlobalOption(
        ["--project-dir"], type=_FOLDER, default=Path("."), metavar="DIR", help="Folder with dbt_project.yml."
    ),
    _GlobalOption(
        ["--profiles-dir"], type=_FOLDER, metavar="DIR",
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
        "Default: PIT_JOIN_ONLINE_STORE, or PIT_JOIN_ONLINE_STORE_<NAME>, from the environment; then online/<target> "
        "in the project.",
    ),
)  # fmt: skip


class WithGlobalOptions(click.Command):
    """A command that accepts the global options, and lists them in `--help` in a section of their own.

    `sections` has the names of the options of further sections by their titles.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]] | None = None, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._titles = {name: title for title, names in (sections or {}).items() for name in names}
        self.params += _GLOBAL

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those of its sections, then the global ones."""
        titles = dict.fromkeys(["Options", *self._titles.values(), "Global options"])
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in titles}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                own = self._titles.get(str(param.name), "Options")
                sections["Global options" if param in _GLOBAL else own].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Command(WithGlobalOptions):
    """A command below `pit-join`: its `ctx.obj()` opens the feature store that the global options name.

    Messages of the package are printed on standard error.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function with the options of its own."""
        ctx.obj = partial(_open_store, **{str(option.name): ctx.params.pop(str(option.name)) for option in _GLOBAL})
        from pit_join.cli.console import messages

        with messages(), command_line():
            return super().invoke(ctx)


def _open_store(stores: dict[str, str], **options: Any) -> FeatureStore:
    from pit_join.feature_store import FeatureStore

    return FeatureStore(
        online_store=stores.get(""),
        online_stores={name: url for name, url in stores.items() if name},
        **options,
    )


def check_options(*, exclusive: Sequence[str] = (), needed: tuple[str, str] | None = None) -> None:
    """Refuse options of which one would be ignored; they are named as in the signature of the command's function.

    Of the `exclusive` ones at most one may be given. Of the two that are `needed` the first makes sense only with the
    second.
    """
    ctx = click.get_current_context()
    flags = {str(param.name): param.opts[0] for param in ctx.command.params}
    given = [flags[name] for name in exclusive if _is_given(ctx, name)]
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} exclude each other; give one of them")
    if needed and _is_given(ctx, needed[0]) and not _is_given(ctx, needed[1]):
        raise click.UsageError(f"{flags[needed[0]]} has no effect without {flags[needed[1]]}")


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not ParameterSource.DEFAULT


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def select_option(help_text: str) -> Callable[[Any], Any]:
    """Return an option for names of views, as a list with commas or given more than once."""
    return click.option("--select", multiple=True, metavar="VIEW[,VIEW...]", callback=_selected, help=help_text)


def _selected(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str]:
    names = _listed(value)
    if value and not names:
        raise click.UsageError("--select is empty; name views, or leave it out")
    return names


def _listed(value: tuple[str, ...]) -> list[str]:
    return [item for listed in value for item in split_list(listed)]


_FEATURES = (
    click.option(
        "--features", multiple=True, metavar="REF[,REF...]",
        help="view:feature, view.v2:feature for a version, or view:* for all. May be given more than once.",
    ),
    click.option("--service", metavar="NAME", help="A feature service (exposure) instead of --features."),
    click.option(
        "--role", "roles", multiple=True, metavar="SPEC",
        help="A view in a role, or with keys of other names: 'dest_weather=weather(airport=dest)'. May be given more "
        "than once.",
    ),
    click.option("--full-feature-names", is_flag=True, help="Name every feature view__feature."),
    click.option("--no-defaults", is_flag=True, help="Keep nulls instead of the declared defaults."),
)  # fmt: skip


def feature_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name features, which reach the command's function, checked, as the mapping `request`.

    It is None where `--from-metadata` names a file that says which features they are.
    """

    @wraps(command)
    def checked(
        *arguments: Any, features: tuple[str, ...], service: str | None, roles: tuple[str, ...],
        full_feature_names: bool, no_defaults: bool, **others: Any,
    ) -> Any:  # fmt: skip
        if others.get("from_metadata"):
            return command(*arguments, request=None, **others)
        if bool(features) == bool(service):
            raise click.UsageError("give either --features or --service")
        if service and roles:
            raise click.UsageError("--role goes with --features; a service has its own roles")
        request = {
            "features": service or _listed(features),
            "roles": roles,
            "full_feature_names": full_feature_names,
            "defaults": not no_defaults,
        }
        return command(*arguments, request=request, **others)

    for option in reversed(_FEATURES):
        checked = option(checked)
    return checked


def feature_choice(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that may name features; without them `features` is None."""

    @wraps(command)
    def checked(*arguments: Any, features: tuple[str, ...], service: str | None, **others: Any) -> Any:
        if features and service:
            raise click.UsageError("give either --features or --service")
        if service and others["roles"]:
            raise click.UsageError("--role goes with --features; a service has its own roles")
        return command(*arguments, features=service or _listed(features) or None, **others)

    for option in reversed(_FEATURES[:-1]):
        checked = option(checked)
    return checked


def listed_pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Return texts such as `name=value` as a mapping."""
    pairs = [item.partition("=")[::2] for item in value]
    if not all(name and given for name, given in pairs) or len(dict(pairs)) < len(pairs):
        raise click.UsageError(f"{param.opts[0]} must be {param.metavar}, each name once")
    return dict(pairs)
