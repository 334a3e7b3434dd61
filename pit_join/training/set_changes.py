"""The changes between two training sets by their metadata: of the spine, the options and the declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pit_join.references import model_and_version, parse_reference
from pit_join.training.set_metadata import DeclaredView, SetMetadata

__all__ = ["SetChange", "decided_columns", "set_changes"]

_OPTIONS = ("event_timestamp", "gap", "full_feature_names", "provenance", "defaults", "window_plan")


@dataclass(frozen=True, slots=True)
class SetChange:
    """A change in a sentence, and the features whose values it may have changed: None for all of them.

    `kind` is spine, options, features, definition or model.
    """

    kind: str
    text: str
    features: frozenset[str] | None


def set_changes(one: SetMetadata, other: SetMetadata, decided: Mapping[str, frozenset[str]]) -> Iterator[SetChange]:
    """Yield what the metadata of two files say differently; `decided` is that of `decided_columns`."""
    if one.spine_sha256 != other.spine_sha256:
        yield SetChange("spine", f"the spine has changed ({one.spine} and {other.spine})", None)
    for name in _OPTIONS:
        before, after = (_text(getattr(each, name)) for each in (one, other))
        if before != after:
            yield SetChange("options", f"{name}: {before}, now {after}", None)
    yield from _references(_asked(one), _asked(other), decided)
    for alias in sorted(one.views.keys() & other.views.keys()):
        yield from _settings(alias, one.views[alias], other.views[alias], decided[alias])
    for name in sorted(one.expressions.keys() & other.expressions.keys()):
        if one.expressions[name] != other.expressions[name]:
            yield SetChange("definition", f"the SQL of the on-demand feature {name} has changed", frozenset({name}))
    if one.models and other.models:
        yield from _models(one, other, decided)
    elif one.sql != other.sql and one.spine == other.spine:  # of another spine the SQL is another one, too
        yield SetChange("definition", "the SQL of the set has changed", None)


def decided_columns(one: SetMetadata, other: SetMetadata) -> dict[str, frozenset[str]]:
    """Return by role the columns that its view decides: features, provenance, and on-demand features of these."""
    found: dict[str, set[str]] = {}
    for metadata in (one, other):
        aliases: dict[str, str] = {}
        for alias, declared in metadata.views.items():
            columns = {f"{alias}__event_timestamp", f"{alias}__status", *declared.features}
            found.setdefault(alias, set()).update(columns)
            aliases |= {model_and_version(declared.view)[0]: alias, declared.view: alias}
        aliases |= {alias: alias for alias in metadata.views}
        for item in metadata.references:
            for source in item.get("arguments", {}).values():
                reference = parse_reference(source)
                if reference and reference[0] in aliases:
                    found[aliases[reference[0]]].add(str(item.get("as")))
    return {alias: frozenset(columns) for alias, columns in found.items()}


def _asked(metadata: SetMetadata) -> dict[str, dict[str, Any]]:
    """Return what was asked for by name; a view that several references name is one."""
    found: dict[str, dict[str, Any]] = {}
    for item in metadata.references:
        known = found.setdefault(str(item.get("as")), {**item, "features": []})
        known["features"] += item.get("features", [])
    return found


def _references(
    one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]], decided: Mapping[str, frozenset[str]]
) -> Iterator[SetChange]:
    for name in sorted(one.keys() | other.keys()):
        features = decided.get(name, frozenset()) | {name}
        if name not in one or name not in other:
            says = "is not asked for any more" if name in one else "is asked for, too"
            yield SetChange("features", f"{name} {says}", features)
            continue
        for key in sorted(one[name].keys() | other[name].keys()):
            before, after = one[name].get(key), other[name].get(key)
            if before != after:
                kind = "definition" if key in ("types", "returns", "default") else "features"
                yield SetChange(kind, f"{name}: {key}: {_text(before)}, now {_text(after)}", features)


def _settings(alias: str, one: DeclaredView, other: DeclaredView, features: frozenset[str]) -> Iterator[SetChange]:
    if one.view != other.view:
        yield SetChange("definition", f"{alias} is the view {other.view} now, and was {one.view}", features)
    for name in [*one.settings, *(name for name in other.settings if name not in one.settings)]:
        before, after = (each.settings.get(name, "none") for each in (one, other))
        if before != after:
            feature = name.partition(" of ")[2]
            others = {*one.features, *other.features, f"{alias}__event_timestamp", f"{alias}__status"} - {feature}
            affected = features - others if feature else features
            yield SetChange("definition", f"{alias}: {name}: {before}, now {after}", affected)


def _models(one: SetMetadata, other: SetMetadata, decided: Mapping[str, frozenset[str]]) -> Iterator[SetChange]:
    readers: dict[str, set[str]] = {}
    for metadata in (one, other):
        for alias, declared in metadata.views.items():
            for node in _read_by(metadata, declared.model):
                readers.setdefault(node, set()).add(alias)
    for node in sorted(readers):
        before, after = one.models.get(node), other.models.get(node)
        if before and after and before.hash == after.hash:
            continue
        what = "is not read any more" if not after else "is read now" if not before else "has other SQL or settings now"
        if node.startswith("seed."):
            what = what.replace("SQL or settings", "rows or settings")
        features = frozenset[str]().union(*(decided[alias] for alias in readers[node]))
        yield SetChange("model", f"the {_name(node)} {what}", features)


def _read_by(metadata: SetMetadata, model: str) -> set[str]:
    """Return a model and all that it reads, directly or not."""
    found: set[str] = set()
    waiting = [model]
    while waiting:
        node = waiting.pop()
        if node not in found and node in metadata.models:
            found.add(node)
            waiting += metadata.models[node].parents
    return found


def _name(node: str) -> str:
    """Return dbt's unique id as words: `model.shop.orders` is the model orders."""
    kind, *names = node.split(".")
    return f"{kind} {'.'.join(names[1:] or names)}"


def _text(value: Any) -> str:
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return ", ".join(f"{name}: {each}" for name, each in value.items()) if isinstance(value, Mapping) else str(value)
