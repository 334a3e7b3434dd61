"""The online value of one key beside what the rule says at the store's own instant, and why they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from pit_join.definitions.views import FeatureView
from pit_join.errors import RequestError, StoreError
from pit_join.online.protocol import ReadableStore
from pit_join.records.layout import instant
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.training.explain import Explainer
from pit_join.training.explanation import Explanation, OnlineValue

__all__ = ["online_value"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


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
    prefix = f"{view.name}__"
    exported = next(iter(found.exported_at.values()))
    if exported is None:
        return f"the feature view '{view.name}' was not exported yet; run pit-join export"
    found = reader.get_online_features([explainer.keys or {}], now=exported)
    values = {name.removeprefix(prefix): value[0] for name, value in found.to_dict().items() if name.startswith(prefix)}
    statuses = {name.removeprefix(prefix): each[0] for name, each in found.statuses.items()}
    event = next(iter(found.event_timestamps.values()))[0]
    expected = explainer.at(exported, around=1)
    return OnlineValue(
        exported_at=_microseconds(exported),
        event=None if event is None else _microseconds(event),
        values=values,
        statuses=statuses,
        expected=expected.values,
        why=tuple(_reasons(values, None if event is None else _microseconds(event), expected)),
    )


def _reasons(values: Mapping[str, Any], event: int | None, expected: Explanation) -> Iterator[str]:
    """Yield why a store has other values than the rule at the instant of its export."""
    differ = [name for name, value in values.items() if not _same(value, expected.values[name])]
    if not differ and event == expected.event:
        return
    if expected.windows:
        yield "the events that count at the instant of the export have changed since"
    elif event == expected.event:
        row = "the declared default" if expected.chosen is None else "the row"
        row += "" if event is None else f" of {instant(event)}"
        yield f"{row} has other values of {', '.join(differ)} now"
    elif event is not None and (expected.event is None or event > expected.event):
        yield f"the row of {instant(event)}, which was exported, is not in the warehouse any more, or not of that time"
    elif expected.event is not None:
        yield (
            f"the warehouse has a row of {instant(expected.event)} that was known at the export, and the store "
            "has not: it came later than its times say, so that the view lacks a created_timestamp or a lag"
        )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)


def _microseconds(moment: Any) -> int:
    if isinstance(moment, datetime):
        return (moment - _EPOCH) // timedelta(microseconds=1)
    return int(moment.astype("datetime64[us]").astype("int64"))
