"""The metadata of a training set's file: what it says of itself, checked before anything is done with it.

A file may come from anybody. Nothing in its metadata runs: SQL is shown, and a name is looked up in the project.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pit_join.errors import PitJoinError
from pit_join.references import RequestItem, parse_features
from pit_join.training.profiles import FeatureProfile
from pit_join.training.request import TrainingRequest

__all__ = ["SET_FORMAT", "DeclaredView", "FeatureStatistics", "ModelHash", "SetMetadata"]

SET_FORMAT = 1
"""The version of the metadata's form. Raise it when a key changes its meaning; older releases then refuse the file."""

_MOST_BYTES = 16 * 2**20
_MOST_ITEMS = 20_000  # of references, features or columns; nobody asks for more
_MOST_STATUSES = 100  # each is a column of a table with a row for each view
_MOST_NAMED = 1_000  # characters of a name
_MOST_SAID = 300  # characters of a problem

_KINDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_MEASURED = ("least", "mean", "groups", "noise", "squares")
_COUNTED = ("rows", "nulls", "missing", "nans", "entities", "bins")
_ROLE: dict[str, type] = {"view": str, "as": str, "join_keys": dict, "features": list}
_ON_DEMAND: dict[str, type] = {"on_demand": str, "as": str, "arguments": dict, "types": dict, "returns": str}
_Kind = TypeVar("_Kind")


class _WrongError(ValueError):
    """A part of the metadata that is not as `build-training-set` writes it."""


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """The values of a feature when its training set was written; `mean` and `quantiles` are those of numbers.

    `profile` is what drift is measured from; files of the first releases have none.
    """

    rows: int
    nulls: int
    mean: float | None
    quantiles: Mapping[str, float]
    profile: FeatureProfile | None = None


@dataclass(frozen=True, slots=True)
class DeclaredView:
    """A view in its role as it was declared: dbt's model, the features, and the settings in words."""

    view: str
    model: str
    features: tuple[str, ...]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelHash:
    """The hash of a model, seed or source without its parents, which are named beside it."""

    hash: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """The metadata of a training set's file.

    `features` are the names of the feature columns, `references` what was asked for, as macros take it, and `spine` the
    label of the spine. `rows` is the number of rows when the set was built. `coverage` counts rows by view and status.
    `statistics` are by feature; only Parquet files have them. `views` are by role, `models` by dbt's unique id, and
    `expressions` the SQL of on-demand features by name; a file of the first releases has none of the three.
    """

    features: tuple[str, ...]
    references: tuple[Mapping[str, Any], ...]
    event_timestamp: str
    gap: str | None
    full_feature_names: bool
    provenance: bool
    defaults: bool
    window_plan: str | None
    spine: str
    spine_sha256: str
    spine_columns: tuple[str, ...]
    rows: int
    sql: str
    versions: Mapping[str, str]
    coverage: Mapping[str, Mapping[str, int]]
    statistics: Mapping[str, FeatureStatistics]
    views: Mapping[str, DeclaredView]
    models: Mapping[str, ModelHash]
    expressions: Mapping[str, str]

    @classmethod
    def from_json(cls, text: bytes, where: str) -> SetMetadata:
        """Read the metadata of the file `where`.

        Raises:
            PitJoinError: in one sentence, if they are damaged, too large, or not those of a training set.
        """
        try:
            read = _parsed(text)
            if (found := read["format"]) <= SET_FORMAT:
                return _metadata(read)
        except (ValueError, OverflowError, RecursionError, PitJoinError) as error:
            problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:_MOST_SAID]
            raise PitJoinError(f"the metadata of {where} cannot be used: {problem}; build the set again") from error
        raise PitJoinError(
            f"{where} was written by a newer pit-join (format {found}; this one reads up to {SET_FORMAT}); upgrade "
            "pit-join here"
        )

    @property
    def requests(self) -> tuple[RequestItem, ...]:
        """The references as requests, without what the file says of types and defaults: the project knows them."""
        asked = ("view", "as", "join_keys", "features", "on_demand", "arguments")
        return parse_features([{key: item[key] for key in asked if key in item} for item in self.references])

    def request(self, spine: Any) -> TrainingRequest:
        """Return the request that built the set, for a spine; its references are not checked yet."""
        return TrainingRequest(
            spine,
            self.requests,
            event_timestamp=self.event_timestamp,
            gap=self.gap,
            full_feature_names=self.full_feature_names,
            provenance=self.provenance,
            defaults=self.defaults,
            window_plan=self.window_plan,
        )


def _parsed(text: bytes) -> Mapping[str, Any]:
    if len(text) > _MOST_BYTES:
        raise _WrongError(f"it has {len(text):,} bytes, and {_MOST_BYTES:,} are allowed")
    try:
        read = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        json.dumps(read, ensure_ascii=False).encode()  # half a character, which JSON can write, is a ValueError
    except _WrongError:
        raise
    except ValueError as error:
        raise _WrongError(f"it is not JSON ({error})") from error
    if not isinstance(read, dict):
        raise _WrongError("it is not an object of JSON")
    read.setdefault("format", 1)  # which the first releases did not write
    _count(read, "format")
    return read


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _WrongError("an object in it has a key twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise _WrongError(f"{text} is not a number of JSON")


def _metadata(read: Mapping[str, Any]) -> SetMetadata:
    features, columns = _names(read, "features"), _names(read, "spine_columns")
    if both := sorted(set(features) & set(columns)):
        raise _WrongError(f"{both[0]!r} is both a feature and a column of the spine")
    read = {"statistics": {}, "views": {}, "models": {}, "expressions": {}, **read}
    found = SetMetadata(
        features=features,
        references=_references(read),
        event_timestamp=_of(read, "event_timestamp", str),
        gap=_text_or_null(read, "gap"),
        full_feature_names=_of(read, "full_feature_names", bool),
        provenance=_of(read, "provenance", bool),
        defaults=_of(read, "defaults", bool),
        window_plan=_text_or_null(read, "window_plan"),
        spine=_of(read, "spine", str),
        spine_sha256=_of(read, "spine_sha256", str),
        spine_columns=columns,
        rows=_count(read, "rows"),
        sql=_of(read, "sql", str),
        versions=_texts(read, "versions"),
        coverage=_coverage(read),
        statistics={feature: _statistics(values) for feature, values in _objects(read, "statistics").items()},
        views={alias: _view(values) for alias, values in _objects(read, "views").items()},
        models={
            node: ModelHash(_of(values, "hash", str), _names(values, "parents"))
            for node, values in _objects(read, "models").items()
        },
        expressions=_texts(read, "expressions"),
    )
    found.request(None)  # so that a reference or a gap that cannot be read is found here
    return found


def _coverage(read: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    found = {
        alias: {status: _count(counts, status) for status in counts}
        for alias, counts in _objects(read, "coverage").items()
    }
    statuses = {status for counts in found.values() for status in counts}
    if len(statuses) > _MOST_STATUSES:
        raise _WrongError(f"the key 'coverage' has {len(statuses):,} statuses, and {_MOST_STATUSES} are allowed")
    return found


def _statistics(read: Mapping[str, Any]) -> FeatureStatistics:
    quantiles = _of({"quantiles": {}, **read}, "quantiles", dict)
    mean = read.get("mean")
    return FeatureStatistics(
        rows=_count(read, "rows"),
        nulls=_count(read, "nulls"),
        mean=None if mean is None else _number(read, "mean"),
        quantiles={point: _number(quantiles, point) for point in quantiles},
        profile=None if read.get("profile") is None else _profile(_of(read, "profile", dict)),
    )


def _profile(read: Mapping[str, Any]) -> FeatureProfile:
    """Read a profile; its bins must be in order, and each must have its count."""
    kind = _of(read, "kind", str)
    if kind not in ("number", "text", "other"):
        raise _WrongError(f"the key 'kind' must be number, text or other, got {reprlib.repr(kind)}")
    edges = [_number({"edges": one}, "edges") for one in _bounded(read, "edges")] if kind == "number" else []
    texts = (
        [_of({"categories": one}, "categories", str) for one in _bounded(read, "categories")] if kind == "text" else []
    )
    counts = [_count({"counts": one}, "counts") for one in _bounded(read, "counts")]
    if not all(map(math.isfinite, edges)) or sum(counts) >= 2**62:
        raise _WrongError("the keys 'edges' or 'counts' have numbers that no profile has")
    if len(counts) != len(edges) + len(texts) + 4 or sorted(set(edges)) != edges or sorted(set(texts)) != sorted(texts):
        raise _WrongError("the keys 'edges', 'categories' and 'counts' do not fit together")
    least, mean, groups, noise, squares = (None if read.get(key) is None else _number(read, key) for key in _MEASURED)
    rows, nulls, missing, nans, entities, bins = (_count(read, key) for key in _COUNTED)
    if bins not in (10, 20):
        raise _WrongError(f"the key 'bins' must be 10 or 20, got {bins}")
    return FeatureProfile(
        feature=_of(read, "feature", str),
        kind=kind,
        rows=rows,
        nulls=nulls,
        missing=missing,
        nans=nans,
        least=least,
        mean=mean,
        edges=edges if kind == "number" else None,
        categories=texts if kind == "text" else None,
        counts=counts,
        entities=entities,
        bins=bins,
        groups=groups,
        noise=noise,
        squares=squares,
    )


def _view(read: Mapping[str, Any]) -> DeclaredView:
    settings = _texts(read, "settings")
    return DeclaredView(_of(read, "view", str), _of(read, "model", str), _names(read, "features"), settings)


def _of(read: Mapping[str, Any], key: str, kind: type[_Kind]) -> _Kind:
    """Return the value of a key, which must be of exactly this type: true is not a whole number."""
    if key not in read:
        raise _WrongError(f"the key {key!r} is missing")
    value = read[key]
    if type(value) is not kind:
        raise _WrongError(f"the key {key!r} must be {_KINDS[kind]}, got {reprlib.repr(value)}")
    return value


def _objects(read: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    found = _of(read, key, dict)
    _bounded({key: list(found)}, key)
    return {name: _of(found, name, dict) for name in found}


def _texts(read: Mapping[str, Any], key: str) -> dict[str, str]:
    found = _of(read, key, dict)
    return {name: _of(found, name, str) for name in found}


def _text_or_null(read: Mapping[str, Any], key: str) -> str | None:
    return None if key in read and read[key] is None else _of(read, key, str)


def _count(read: Mapping[str, Any], key: str) -> int:
    if (value := _of(read, key, int)) < 0:
        raise _WrongError(f"the key {key!r} must not be negative, got {value}")
    return value


def _number(read: Mapping[str, Any], key: str) -> float:
    if type(read[key]) not in (int, float):
        raise _WrongError(f"the key {key!r} must be a number, got {reprlib.repr(read[key])}")
    return float(read[key])


def _names(read: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = tuple(_of({key: name}, key, str) for name in _bounded(read, key))
    if len(set(found)) < len(found):
        raise _WrongError(f"the key {key!r} names a column twice")
    if any(len(name) > _MOST_NAMED for name in found):
        raise _WrongError(f"the key {key!r} has a name of more than {_MOST_NAMED:,} characters")
    return found


def _references(read: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the references, which have all keys that a request writes; `parse_features` checks what is in these."""
    found = [_of({"references": item}, "references", dict) for item in _bounded(read, "references")]
    if not found:
        raise _WrongError("the key 'references' is empty")
    for item in found:
        for key, kind in (_ON_DEMAND if "on_demand" in item else _ROLE).items():
            _of(item, key, kind)
    return tuple(found)


def _bounded(read: Mapping[str, Any], key: str) -> list[Any]:
    found = _of(read, key, list)
    if len(found) > _MOST_ITEMS:
        raise _WrongError(f"the key {key!r} has {len(found):,} items, and {_MOST_ITEMS:,} are allowed")
    return found
