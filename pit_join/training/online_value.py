"""The online value of one key beside what the rule says at the store's own instant, and why they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pit_join.definitions.views import FeatureView
from pit_join.errors import RequestError, StoreError
from pit_join.online.protocol import ReadableStore
from pit_join.records.layout import instant, moment_of
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import NOT_FOUND, PRESENT
from pit_join.training.explain import Explainer
from pit_join.training.explanation import Explanation, OnlineValue

__all__ = ["online_value"]


def online_value(
    store: ReadableStore, explainer: Explainer, view: FeatureView, features: Sequence[str]
) -> OnlineValue | str:
    """Read the features of a key, and compare them; a sentence if the store has nothing to compare."""
    request = Request(view.name, tuple(features), view.name)
    try:
        reader = OnlineReader(store, [request], full_feature_names=True, strict=True)
        found = reader.get_online_features([explainer.keys or {}])
    except (StoreError, RequestError) as error:
        return str(error)
    exported = next(iter(found.exported_at.values()))
    if exported is None:
        return f"the feature view '{view.name}' was not exported yet; run pit-join export"
    (role,) = reader.get_online_features([explainer.keys or {}], now=exported).by_role()
    names = [name.removeprefix(f"{view.name}__") for name in role.names]
    (event,) = role.times
    expected = explainer.at(exported, around=1)
    online = OnlineValue(
        exported_at=moment_of(exported),
        event=event,
        values={name: values[0] for name, values in zip(names, role.columns, strict=True)},
        statuses={name: statuses[0] for name, statuses in zip(names, role.statuses, strict=True)},
        types=dict(zip(names, role.types, strict=True)),
        expected=expected.values,
        why=(),
    )
    return replace(online, why=tuple(_reasons(online, expected)))


def _reasons(online: OnlineValue, expected: Explanation) -> Iterator[str]:
    """Yield why a store has other values than the rule at the instant of its export."""
    event = online.event
    differ = [name for name, value in online.values.items() if not _same(value, expected.values[name])]
    for name in differ:
        if online.types[name] != expected.types[name]:
            yield f"{name} was of type {online.types[name]} at the export, and is of type {expected.types[name]} now"
    differ = [name for name in differ if online.types[name] == expected.types[name]]
    if defaults := [name for name in differ if PRESENT not in (online.statuses[name], expected.statuses[name])]:
        yield f"the declared default of {', '.join(defaults)} has changed since the export"
    differ = [name for name in differ if name not in defaults]
    if expected.windows:
        if differ or event != expected.event:
            yield "the events that count at the instant of the export have changed since"
    elif event == expected.event:
        if differ:
            yield _of_one_row(online, expected, differ)
    elif event is not None and (expected.event is None or event > expected.event):
        yield f"the row of {instant(event)}, which was exported, is not in the warehouse any more, or not of that time"
    elif expected.event is not None:
        yield (
            f"the warehouse has a row of {instant(expected.event)} that was known at the export, and the store "
            "has not: it came later than its times say, so that the view lacks a created_timestamp or a lag"
        )


def _of_one_row(online: OnlineValue, expected: Explanation, differ: Sequence[str]) -> str:
    """Return why features differ whose event times are equal; those of a static view have none."""
    if any(expected.statuses[name] == NOT_FOUND for name in differ):
        return "the row, which was exported, is not in the warehouse any more"
    if any(online.statuses[name] == NOT_FOUND for name in differ):
        return "the warehouse has a row now that it had not at the export"
    row = "the row" if online.event is None else f"the row of {instant(online.event)}"
    return f"{row} has other values of {', '.join(differ)} now"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)
