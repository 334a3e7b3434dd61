"""`POST /nearest`: the neighbours of a vector as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from pit_join.feature_store import FeatureStore
from pit_join.http.answers import dumps, key_as_json
from pit_join.http.requests import LONGEST_NAME, BodyError, read_object

__all__ = ["nearest"]


def nearest(body: bytes, store: FeatureStore, most: int, now: datetime | None = None) -> bytes:
    """Read a request for at most so many neighbours, find them, and write them; unknown fields are ignored.

    Ages are judged as of `now`, the clock's by default.

    Raises:
        BodyError: if the body is something else.
        PitJoinError: see `NeighbourReader.nearest`.
    """
    read = read_object(body, "'view', 'feature' and 'vector'")
    view, feature = _name(read, "view"), _name(read, "feature")
    vector, k = read.get("vector"), read.get("k", 10)
    if not isinstance(vector, list) or not all(type(number) in (int, float) for number in vector):
        raise BodyError("'vector' must be a list of numbers")
    if type(k) is not int or not 1 <= k <= most:
        raise BodyError(f"'k' must be a whole number from 1 to {most:,}, got {k!r}")
    found = store.nearest(view, feature, vector, k, now=now)
    kinds: dict[str, str] = {}
    if any(isinstance(value, np.datetime64) for one in found for value in one.keys.values()):
        kinds |= store.online_contents().views[view].keys  # a datetime64 does not say whether it is UTC
    neighbours = [
        {
            "keys": {name: key_as_json(kinds.get(name, ""), value) for name, value in one.keys.items()},
            "distance": one.distance,
            "event_timestamp": key_as_json("timestamp[us, UTC]", one.event_timestamp),
        }
        for one in found
    ]
    return dumps({"neighbours": neighbours})


def _name(read: dict[str, Any], field: str) -> str:
    name = read.get(field)
    if not isinstance(name, str) or not name:
        raise BodyError(f"'{field}' must be a name")
    if len(name) > LONGEST_NAME:  # to look for the nearest known one takes long for a long one
        raise BodyError(f"'{field}' has more than {LONGEST_NAME:,} characters")
    return name
