"""The answers of the HTTP server: feature vectors as JSON, Arrow or one matrix of floats.

The JSON has the form of Feast's feature server (docs/serving.md says how each type is written).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from pit_join.errors import EntityError
from pit_join.http.requests import FeatureRequest, request_keys
from pit_join.json_values import finite, plain, time_text, with_zone
from pit_join.records.layout import instant
from pit_join.serving.features import OnlineFeatures
from pit_join.serving.reader import OnlineReader, read_one
from pit_join.serving.role_records import RoleColumns
from pit_join.serving.vector import RowRecords
from pit_join.statuses import NULL_VALUE, ONLINE, PRESENT

__all__ = ["ARROW", "FLOATS", "JSON", "Reply", "chosen_form", "dumps", "key_as_json", "reply"]

JSON, ARROW, FLOATS = "application/json", "application/vnd.apache.arrow.stream", "application/octet-stream"

# Clients and proxies read header lines of up to 64 KiB.
_LONGEST_HEADER = 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# From the year 1 to 9998, in microseconds: orjson does not write the last days of 9999 from NumPy.
_FIRST, _LAST = (
    (datetime(year, 1, 1, tzinfo=timezone.utc) - _EPOCH) // timedelta(microseconds=1) for year in (1, 9999)
)
_NO_TIME = "1970-01-01T00:00:00Z"
_PRESENT, _NULL = [PRESENT], [NULL_VALUE]


class Reply(NamedTuple):
    """A body with its headers.

    `statuses` counts values by view and status, as far as they are known; `failures` are the views for which defaults
    stand, with the reasons.
    """

    content: bytes
    headers: Mapping[str, str]
    statuses: Mapping[tuple[str, str], int]
    failures: Mapping[str, str]


@lru_cache(maxsize=256)
def chosen_form(accept: bytes) -> str | None:
    """The form that an Accept header prefers; JSON if it accepts several alike.

    >>> chosen_form(b"text/html, application/vnd.apache.arrow.stream;q=0.5")
    'application/vnd.apache.arrow.stream'
    >>> chosen_form(b"application/octet-stream;q=0.1, */*")
    'application/json'
    """
    wanted: dict[str, float] = {}
    for item in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        name = {"*/*": JSON, "application/*": JSON, "": JSON}.get(name, name)
        if name in (JSON, ARROW, FLOATS):
            wanted[name] = max(_quality(parameters), wanted.get(name, 0.0))
    best = max(wanted, key=lambda name: wanted[name], default=None)
    return best if best and wanted[best] > 0 else None


def _quality(parameters: Sequence[str]) -> float:
    texts = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return float(texts[0]) if texts else 1.0
    except ValueError:
        return 0.0


def reply(
    request: FeatureRequest, reader: OnlineReader, form: str, now: datetime | None = None, until: float | None = None
) -> Reply:
    """Read the features of a request, and write them in one of the forms.

    Ages are judged as of `now`, by default the clock's. Stores must answer before `until` (`time.monotonic`), by
    default within the reader's deadline.

    Raises:
        EntityError: if the keys do not fit, or the form has no place for a feature's type.
        StoreError: if the store cannot be used.
        StoreChangedError: see `OnlineReader`.
    """
    deadline = None if until is None else max(0.0, until - time.monotonic())
    kinds = reader.key_kinds
    if kinds and not request.entities:
        needed = ", ".join(kinds)
        raise EntityError(f"'entities' must map each key to a list of values, and is empty; the features need {needed}")
    keys = request_keys(request, kinds)
    if form == JSON and request.rows == 1:
        only = {name: value for name, (value,) in keys.items()}
        return _one_row(request, kinds, read_one(reader, only, now=now, deadline=deadline))
    found = reader.get_online_features(keys, now=now, deadline=deadline)
    if form == FLOATS:
        return _floats(found)
    roles = found.by_role()
    content = (
        _json(request, kinds, found.names, roles) if form == JSON else _arrow(keys, kinds, found.names, roles)
    )  # fmt: skip
    return Reply(content, {}, _counted(roles), found.failures)


def _one_row(request: FeatureRequest, kinds: Mapping[str, str], row: RowRecords) -> Reply:
    """Write one row as `_json` and `_counted` do, without columns: building them takes longer than all the rest."""
    found: list[dict[str, Any]] = []
    counts: dict[tuple[str, str], int] = {}
    sound = True
    for role, (status, event, stored) in row.by_role():
        view, size = role.view.name, len(role.names)
        values = row.values[len(found) : len(found) + size]
        for i, utc in _instants(role.types):
            values[i] = time_text(values[i], utc)
        times, statuses = [_event_time(event)], [[status]] * size
        nulls = stored.count(None) if stored else 0
        if nulls and stored:
            statuses = [_NULL if value is None else _PRESENT for value in stored]
            counts[view, NULL_VALUE] = counts.get((view, NULL_VALUE), 0) + nulls
        if nulls < size:
            counts[view, status] = counts.get((view, status), 0) + size - nulls
        for value, each in zip(values, statuses, strict=True):
            found.append({"values": [value], "statuses": each, "event_timestamps": times})
        sound = sound and stored is not None
    for column in row.computed().values():
        (value,), (status,) = column.values, column.statuses
        value = with_zone(value, column.type)
        counts[column.view, status] = counts.get((column.view, status), 0) + 1
        found.append({"values": [value], "statuses": [status], "event_timestamps": [_NO_TIME]})
    content = _document(request, kinds, row.plan.names, row.plan.in_order(found))
    return Reply(content, {}, counts, {} if sound else row.failures())


def _counted(roles: Sequence[RoleColumns]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for role in roles:
        first = role.statuses[0]
        alike = role.statuses.count(first) == len(role.statuses)
        for each in role.statuses[:1] if alike else role.statuses:
            for status in ONLINE if each.count(PRESENT) < len(each) else (PRESENT,):
                if number := each.count(status) * (len(role.statuses) if alike else 1):
                    counts[role.view, status] = counts.get((role.view, status), 0) + number
    return counts


def _json(
    request: FeatureRequest, kinds: Mapping[str, str], names: Sequence[str], roles: Sequence[RoleColumns]
) -> bytes:
    found: dict[str, dict[str, Any]] = {}
    for role in roles:
        times, columns = _event_times(role.times), list(role.columns)
        for i, utc in _instants(role.types):
            columns[i] = [time_text(value, utc) for value in columns[i]]
        for name, values, statuses in zip(role.names, columns, role.statuses, strict=True):
            found[name] = {"values": values, "statuses": statuses, "event_timestamps": times}
    return _document(request, kinds, names, [found[name] for name in names])


@lru_cache(maxsize=1024)
def _instants(types: tuple[str, ...]) -> list[tuple[int, bool]]:
    """Find the features that are instants: their numbers, and whether they are in UTC."""
    return [(i, "UTC" in kind) for i, kind in enumerate(types) if "timestamp" in kind]


def _document(
    request: FeatureRequest, kinds: Mapping[str, str], names: Sequence[str], found: Sequence[dict[str, Any]]
) -> bytes:
    present, never = _PRESENT * request.rows, [_NO_TIME] * request.rows
    results: list[dict[str, Any]] = [
        {"values": request.entities[key], "statuses": present, "event_timestamps": never} for key in kinds
    ]  # fmt: skip
    results += found
    document = {"metadata": {"feature_names": [*kinds, *names]}, "results": results}
    content = dumps(document)
    # A number that is not finite became null: are there more nulls than there should be?
    if (nulls := content.count(b"null")) and nulls != sum(result["values"].count(None) for result in results):
        with_texts = [{**result, "values": finite(result["values"])} for result in results]
        content = dumps({**document, "results": with_texts})
    return content


def dumps(value: Any) -> bytes:
    """JSON, with a text for decimals and dates, and for bytes in base64; null for a number that is not finite."""
    try:
        return orjson.dumps(value, default=plain, option=orjson.OPT_UTC_Z)
    except TypeError:  # a key that is an integer of more than 64 bits, or text with a lone surrogate
        return json.dumps(finite(value), separators=(",", ":"), default=plain, allow_nan=False).encode()


def key_as_json(kind: str, value: Any) -> Any:
    """One value of a stored key of a kind, as a request has it; `dumps` does the rest."""
    return time_text(value, "UTC" in kind) if "timestamp" in kind else finite(value)


def _event_times(times: Sequence[int | None]) -> list[Any]:
    """Write event times once for all features of a role; those that Python has, without an object for each."""
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times) or min(known) < _FIRST or max(known) > _LAST:
        return [_event_time(time) for time in times]
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    found: list[Any] = orjson.loads(orjson.dumps(np.array(known, dtype="datetime64[us]"), option=options))
    return found


def _event_time(microseconds: int | None) -> datetime | str:
    if microseconds is None:
        return _NO_TIME
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:  # of a year that Python does not have
        return f"{instant(microseconds)}Z"


def _floats(found: OnlineFeatures) -> Reply:
    matrix = found.to_numpy(dtype="<f4")
    names = json.dumps(list(found.names))
    if len(names) > _LONGEST_HEADER:
        raise EntityError(f"the names of {len(found.names):,} features do not fit into a header; ask for {ARROW}")
    shape, failures = ",".join(map(str, matrix.shape)), found.failures
    headers = {"pit-join-dtype": "float32", "pit-join-shape": shape, "pit-join-feature-names": names}
    if failures:  # the matrix has no statuses
        headers["pit-join-failures"] = json.dumps(sorted(failures))
    return Reply(matrix.tobytes(), headers, {}, failures)


def _arrow(
    keys: Mapping[str, list[Any]], kinds: Mapping[str, str], names: Sequence[str], roles: Sequence[RoleColumns]
) -> bytes:
    # Imported here, since only requests for Arrow need it.
    import pyarrow as pa

    from pit_join.records.arrow import arrow_values

    values, statuses = {}, {}
    for role in roles:
        for i, name in enumerate(role.names):
            values[name] = arrow_values(role.types[i], role.columns[i])
            statuses[name] = pa.array(role.statuses[i], pa.string()).dictionary_encode()
    arrays = {name: _arrow_key(name, kind, keys[name]) for name, kind in kinds.items()}
    arrays |= {name: values[name] for name in names}
    for name in names:
        if f"{name}__status" in arrays:
            raise EntityError(f"there is a feature '{name}__status', which an Arrow answer cannot hold; ask for {JSON}")
        arrays[f"{name}__status"] = statuses[name]
    table = pa.table(arrays)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _arrow_key(name: str, kind: str, values: list[Any]) -> Any:
    import pyarrow as pa

    from pit_join.records.arrow import arrow_values

    # Integer keys have all widths; a requested key may be wider than the column.
    for each in ("int64", "uint64", "decimal(38, 0)") if kind == "integer" else (kind,):
        try:
            return arrow_values(each, values)
        except (ValueError, OverflowError, pa.ArrowException):
            continue
    raise EntityError(f"a value of the key '{name}' does not fit into an Arrow column of {kind}; ask for {JSON}")
