"""The comparison of what a store says of itself with what the project would export now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

from pit_join.definitions.views import FeatureView
from pit_join.export.export import services_of
from pit_join.export.places import online_views
from pit_join.export.taking import SnapshotTaker
from pit_join.records.layout import Field
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.times import format_duration
from pit_join.workspace import Histories, Workspace

__all__ = ["changed_parts", "changed_services", "moved_views"]


def changed_parts(workspace: Workspace, histories: Histories, stored: StoredView, view: FeatureView) -> Iterator[str]:
    """Yield a sentence for each part of a view that the store describes otherwise than the project.

    The view's staged rows are forgotten.

    Raises:
        PitJoinError: if the view cannot be exported now.
    """
    histories.stage([view])
    with ExitStack() as files:
        now, _ = SnapshotTaker(workspace, histories, files, datetime.now(timezone.utc)).view(view)
    for part, there, here in _parts(stored, now, view):
        if there != here:
            yield f"the feature view '{view.name}' has another {part} in the store: {there}, now {here}"


def _parts(stored: StoredView, now: StoredView, view: FeatureView) -> Iterator[tuple[str, object, object]]:
    yield "entity", stored.entity or "none", now.entity or "none"
    yield "key", _listed(stored.keys), _listed(now.keys)
    yield "list of features", *_unlike(stored.layout.fields, now.layout.fields)
    yield "ttl", _age(stored.ttl), _age(now.ttl)
    yield "max_staleness", _age(stored.max_staleness), _age(now.max_staleness)
    yield "list of what is sensitive", _sensitive(stored), _sensitive(now)
    # The records of defaults and of missing keys; with other features they are others, too.
    if stored.layout.describe() == now.layout.describe():
        hidden = {*stored.sensitive, *now.sensitive}
        yield "default", *_substitutes(stored, stored.defaults, now.defaults, hidden)
        yield "value of a key without a record", *_substitutes(stored, stored.missing, now.missing, hidden)
    nearest = {feature.name: feature.nearest for feature in view.features if feature.nearest}
    yield "metric of embeddings", {name: index.metric for name, index in stored.nearest.items()}, nearest


def _unlike(there: Sequence[Field], here: Sequence[Field]) -> tuple[str, str]:
    """Return the features of each side that the other lacks; all of them where only the order differs."""
    if there == here:
        return "", ""
    only = [field for field in there if field not in here], [field for field in here if field not in there]
    sides = only if any(only) else (there, here)
    one, other = (", ".join(f"{field.name} {field.type}" for field in side) or "none of them" for side in sides)
    return one, other


def _listed(keys: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in keys.items()) or "none"


def _age(ttl: int | None) -> str:
    return "none" if ttl is None else format_duration(timedelta(microseconds=ttl))


def _sensitive(view: StoredView) -> str:
    return ", ".join([*view.sensitive, *(["the keys"] if view.hides_keys else [])]) or "nothing"


def _substitutes(view: StoredView, there: bytes | None, here: bytes | None, hidden: set[str]) -> tuple[str, str]:
    """Return the records of both sides as texts, which differ if the records do; of sensitive features no values."""
    one, other = (_values(view, record) for record in (there, here))
    for name in hidden & {*one, *other}:
        same = one.get(name) == other.get(name)
        for side, text in ((one, "a sensitive value"), (other, "a sensitive value" if same else "another one")):
            side.update({name: text} if name in side else {})
    texts = (", ".join(f"{name} {value}" for name, value in side.items()) or "none" for side in (one, other))
    return next(texts), next(texts)


def _values(view: StoredView, record: bytes | None) -> dict[str, str]:
    if record is None:
        return {}
    values = view.decoder(view.features).read(record, b"")[1]
    return {name: repr(value) for name, value in zip(view.features, values, strict=True)}


def moved_views(workspace: Workspace, contents: Contents) -> Iterator[str]:
    """Yield a sentence for each view that the next export would bring to the store, or take from it."""
    online = online_views(workspace.registry)
    for name in online.keys() - contents.views.keys():
        yield f"the feature view '{name}' is not in the store"
    for name in contents.views.keys() - online.keys():
        yield f"the feature view '{name}' of the store has online: false in the project"


def changed_services(workspace: Workspace, contents: Contents) -> Iterator[str]:
    """Yield a sentence for each feature service that the store describes otherwise than the project.

    Raises:
        PitJoinError: if on-demand features of a service cannot be written as SQL.
    """
    now = services_of(workspace)
    for name in sorted({*now, *contents.services}):
        if name not in contents.services:
            yield f"the feature service '{name}' is not in the store"
        elif name not in now:
            yield f"the feature service '{name}' of the store is not in the project any more"
        elif now[name].requests != contents.services[name].requests:
            yield f"the feature service '{name}' has other features in the store"
        elif now[name] != contents.services[name]:
            yield f"the feature service '{name}' has other names, or other SQL for its on-demand features, in the store"
