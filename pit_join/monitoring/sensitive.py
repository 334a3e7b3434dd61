"""The sensitive names in a feature log, by the log itself and by the project as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pit_join.definitions.registry import Registry
from pit_join.references import default_alias, parse_reference
from pit_join.serving.log_entry import Unlogged

__all__ = ["SensitiveNames", "is_hidden", "sensitive_names", "sources_of"]


def is_hidden(registry: Registry, view: str, feature: str) -> bool:
    """Return whether a feature is sensitive; one that the project does not have is."""
    known = registry.views.get(registry.latest.get(view, view))
    return known is None or all(each.sensitive for each in known.features if each.name == feature)


@dataclass(frozen=True, slots=True)
class SensitiveNames:
    """The features and keys of logged rows whose values stay out of findings; `unlogged` are nulls in the rows.

    Rows that were logged before something was declared sensitive have its values.
    """

    features: frozenset[str]
    keys: frozenset[str]
    unlogged: Unlogged


def sensitive_names(registry: Registry, about: Mapping[str, Any]) -> SensitiveNames:
    """Return the sensitive names in rows of a log; `about` is their `LogSource.metadata`."""
    left_out = about.get("unlogged", {})
    unlogged = Unlogged(*(frozenset(left_out.get(what, ())) for what in Unlogged._fields))
    views = {alias: role["view"] for alias, role in about["roles"].items()}
    hiding = (
        role for role in about["roles"].values() if (view := registry.views.get(role["view"])) and view.hides_keys
    )
    keys = unlogged.keys.union(*(role["keys"].values() for role in hiding))
    features = {
        each["name"] for each in about["features"]
        if "role" in each and is_hidden(registry, views[each["role"]], each["feature"])
    }  # fmt: skip
    for item in about["references"]:
        if "on_demand" in item and any(
            is_hidden(registry, views.get(found[0], found[0]), found[1]) if found else source in keys
            for source, found in sources_of(item).items()
        ):
            features.add(item["as"])
    return SensitiveNames(unlogged.features | features, keys, unlogged)


def sources_of(item: Mapping[str, Any]) -> dict[str, tuple[str, str] | None]:
    """Return the sources of a logged on-demand feature: the role and the feature of each, None for a request field."""
    sources = (item["arguments"].get(name, name) for name in item["types"])
    parsed = ((source, parse_reference(source)) for source in sources)
    return {source: (default_alias(found[0]), found[1]) if found else None for source, found in parsed}
