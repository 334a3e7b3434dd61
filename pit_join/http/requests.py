"""The requests to the HTTP server: Feast's body, and keys as JSON writes them (see docs/serving.md)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from pit_join.errors import EntityError, PitJoinError

__all__ = ["LONGEST_NAME", "BodyError", "FeatureRequest", "read_object", "read_request", "request_keys"]

_MOST_REFERENCES = 5_000
LONGEST_NAME = 1_000
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FINER = re.compile(r"\.\d{7}")
_PLAIN_TIME = re.compile(r"-?\d{4,}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?Z?)?")


class BodyError(PitJoinError):
    """A body that cannot be read as a request."""


class FeatureRequest(NamedTuple):
    """A request: references or the name of a service, and for each key as many values as there are rows."""

    features: str | tuple[str, ...]
    full_feature_names: bool
    entities: Mapping[str, list[Any]]
    rows: int


def read_request(body: bytes, most_rows: int) -> FeatureRequest:
    """Read Feast's body; unknown fields are ignored, as Feast does.

    Raises:
        BodyError: if the body is something else.
    """
    read = read_object(body, "'entities', and 'features' or 'feature_service'")
    full, entities = read.get("full_feature_names", False), read.get("entities", {})
    if not isinstance(full, bool):
        raise BodyError("'full_feature_names' must be true or false")
    if not isinstance(entities, dict) or not all(isinstance(values, list) for values in entities.values()):
        raise BodyError("'entities' must map each key to a list of values, such as {\"user_id\": [1, 2]}")
    lengths = {len(values) for values in entities.values()}
    if len(lengths) > 1:
        raise BodyError(f"the lists of 'entities' must be of one length, got {', '.join(map(str, sorted(lengths)))}")
    rows = lengths.pop() if lengths else 1  # features that hold for every row need no keys
    if rows > most_rows:
        raise BodyError(f"the request has {rows:,} rows, and at most {most_rows:,} are allowed; ask in parts")
    return FeatureRequest(_features(read), full, entities, rows)


def read_object(body: bytes, fields: str) -> dict[str, Any]:
    """Read a JSON object, in which no name occurs twice; `fields` names its fields in messages.

    Raises:
        BodyError: if it is something else.
    """
    try:
        read = _DECODER.decode(body.decode())
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except ValueError as error:
        raise BodyError(f"the body is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise BodyError(f"the body must be a JSON object with {fields}")
    return read


def _features(read: Mapping[str, Any]) -> str | tuple[str, ...]:
    service, features = read.get("feature_service"), read.get("features", [])
    if service is not None and not isinstance(service, str):
        raise BodyError("'feature_service' must be the name of a feature service")
    if not isinstance(features, list) or not all(isinstance(reference, str) for reference in features):
        raise BodyError("'features' must be a list of references such as \"view:feature\"")
    if service:
        features = [service]
    if not features:
        raise BodyError("the body must have 'features', a list of references, or 'feature_service', a name")
    if len(features) > _MOST_REFERENCES:
        raise BodyError(f"'features' has {len(features):,} references, and at most {_MOST_REFERENCES:,} are allowed")
    # Searching for the nearest known name takes long for a long one.
    if len(max(features, key=len)) > LONGEST_NAME:
        raise BodyError(f"a name has more than {LONGEST_NAME:,} characters")
    if service:
        if ":" in service:
            raise BodyError("'feature_service' is a name, and has no ':'; references stand in 'features'")
        return service
    return tuple(features)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise BodyError(f"the body gives '{next(name for name in names if names.count(name) > 1)}' twice")
    return found


def _refuse_constant(text: str) -> None:
    raise BodyError(f'{text} is not JSON; write "{text}", with quotes, for a key of floats')


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once, parse_constant=_refuse_constant)


def request_keys(request: FeatureRequest, kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return the entities, with keys as Python values where JSON has no form for the type."""
    found: dict[str, Any] = dict(request.entities)
    for name, kind in kinds.items():
        read = _key_reader(kind)
        if read is None or name not in found:
            continue
        converted = []
        for value in found[name]:
            try:
                converted.append(read(value))
            except (ValueError, InvalidOperation):
                raise EntityError(f"key '{name}': {value!r} is not of type {kind}") from None
        found[name] = converted
    return found


@lru_cache(maxsize=256)
def _key_reader(kind: str) -> Callable[[Any], Any] | None:
    return _KEYS.get(re.split(r"[(\[]", kind)[0])


def _float_key(value: Any) -> Any:
    return _NOT_FINITE[value] if isinstance(value, str) and value in _NOT_FINITE else value


def _decimal_key(value: Any) -> Any:
    # A float's shortest digits are those that were sent.
    return Decimal(str(value)) if isinstance(value, (str, float)) else value


def _binary_key(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _date_key(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        return _numpy_time(value)  # of a year that Python does not have


def _time_key(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        # Python would drop the digits after the sixth.
        return _numpy_time(value) if _FINER.search(value) else datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return _numpy_time(value)


def _numpy_time(text: str) -> np.datetime64:
    if not _PLAIN_TIME.fullmatch(text):
        raise ValueError(text)
    return np.datetime64(text.removesuffix("Z"))


_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "float": _float_key, "double": _float_key, "decimal": _decimal_key, "binary": _binary_key,
    "date32": _date_key, "timestamp": _time_key,
}  # fmt: skip
