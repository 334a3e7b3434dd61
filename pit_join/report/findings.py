"""Files that other commands wrote, for the page: audits, explanations, and the coverage of training sets.

An audit or an explanation may come from anybody: what is taken of it is text and numbers of known names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pit_join.errors import PitJoinError, option
from pit_join.json_values import json_text
from pit_join.report.catalogue import filled
from pit_join.report.hidden import Hidden
from pit_join.statuses import OFFLINE, STATUSES
from pit_join.training.set_file import SetFile

__all__ = ["read_audit", "read_explanation", "set_coverage"]

_MOST_BYTES = 16 * 2**20
_MOST_ROWS = 2_000
_LONGEST = 200
_Found = TypeVar("_Found")


def set_coverage(set_file: SetFile, name: str) -> dict[str, Any]:
    """Return how a training set's rows found their values, by view and status; of the values themselves nothing."""
    metadata = set_file.described
    statuses = [status for status in OFFLINE if any(counts.get(status) for counts in metadata.coverage.values())]
    return filled(
        file=name,
        rows=set_file.table.num_rows,
        features=len(metadata.features),
        spine=metadata.spine,
        gap=metadata.gap,
        versions=[list(pair) for pair in metadata.versions.items()],
        statuses=[[status, STATUSES[status].heading] for status in statuses],
        coverage=[
            filled(role=role, view=metadata.views[role].view if role in metadata.views else None)
            | {"counts": [counts.get(status, 0) for status in statuses]}
            for role, counts in metadata.coverage.items()
        ],
    )


def read_audit(path: Path, hidden: Hidden) -> dict[str, Any]:
    """Return the findings of `pit-join audit --json`; of sensitive columns no values.

    Raises:
        PitJoinError: if the file cannot be read, or is something else.
    """

    def taken(read: Mapping[str, Any]) -> dict[str, Any]:
        return filled(
            file=path.name,
            audited=Path(_text(read["path"])).name,
            rows=_count(read["rows"]),
            found=bool(read["found"]),
            columns=[_audited(each, hidden) for each in read["columns"]],
            suspects=[
                {name: _text(each[name]) for name in ("column", "text")}
                | {name: _count(each[name]) for name in ("explained", "tried")}
                | {"leak": each["leak"] is True}
                for each in read["suspects"]
            ],
            unknown=[_text(each) for each in read["unknown"]],
            missing=[_text(each) for each in read["missing"]],
            left_out=[[_text(alias), _text(why)] for alias, why in read["left_out"].items()],
            hints=[_text(each, 1_000) for each in read["hints"]],
        )

    return _read(path, "audit", taken)


def _audited(column: Mapping[str, Any], hidden: Hidden) -> dict[str, Any]:
    feature = _text(column["feature"])
    sensitive = hidden.reference(feature) or hidden.reference(_text(column["column"]))
    filled_nulls, problem = column["filled"], column["problem"]
    return filled(
        column=_text(column["column"]),
        feature=feature,
        verdict=_text(column["verdict"]),
        rows=_count(column["rows"]),
        differing=_count(column["differing"]),
        precision=column["precision"] and _text(column["precision"]),
        problem=None if problem is None else "the column cannot be compared" if sensitive else _text(problem, 1_000),
        nulls_filled=[None if sensitive else _value(filled_nulls["value"]), _count(filled_nulls["rows"])]
        if filled_nulls
        else None,
        causes=[
            [_text(each["text"], 1_000), _count(each["explained"]), _count(each["tried"]), each["leak"] is True]
            for each in column["causes"]
        ],
        examples=[]
        if sensitive
        else [
            filled(row=_count(each["row"]), time=each["time"] and _text(each["time"]))
            | {"value": _value(each["value"]), "expected": _value(each["expected"])}
            for each in column["examples"]
        ],
        sensitive=sensitive or None,
    )


def read_explanation(path: Path, hidden: Hidden, ttls: Mapping[str, float]) -> dict[str, Any]:
    """Return what `pit-join explain --json` printed; of sensitive features no values, and then no keys either.

    `ttls` has the ttl of views in seconds.

    Raises:
        PitJoinError: if the file cannot be read, or is something else.
    """

    def taken(read: Mapping[str, Any]) -> dict[str, Any]:
        view, keys, names = _text(read["view"]), read["keys"], list(map(_text, read["values"]))
        secret = [hidden.feature(view, name) for name in names]
        told = [hidden.reference(_text(each["source"])) for each in read["arguments"]]
        closed = any(secret) or any(told) or hidden.key(view, keys)
        if any(told):  # the result of an expression tells of its arguments
            secret = [True] * len(names)
        return filled(
            file=path.name,
            view=view,
            keys=[] if closed else [[_text(name), _value(value)] for name, value in keys.items()],
            keys_hidden=closed or None,
            at=_text(read["at"]),
            asked=_text(read["asked"]),
            event=read["event"] and _text(read["event"]),
            rule=[_text(each, 4_000) for each in read["rule"]],
            ttl=None if read["windows"] or read["arguments"] else ttls.get(view),
            values=[
                filled(name=name, status=_text(read["statuses"].get(name, "")))
                | {"value": None if hide else _value(value), "default": name in read["defaulted"], "hidden": hide}
                for (name, value), hide in zip(read["values"].items(), secret, strict=True)
            ],
            rows=list(_rows(read["rows"], secret)),
            counts=[[_text(name), _count(number)] for name, number in read["counts"].items()],
            windows=[
                filled(
                    feature=_text(each["feature"]),
                    function=hidden.window(view, _text(each["function"], 1_000)),
                    events=_count(each["events"]),
                    rows=list(_rows(each["rows"], [hidden.feature(view, _text(each["feature"]))])),
                )
                for each in read["windows"]
            ],
            arguments=[
                filled(
                    name=_text(each["name"]), source=_text(each["source"]), event=each["event"] and _text(each["event"])
                )
                | {"value": None if closed else _value(each["value"]), "status": _text(each["status"] or "")}
                for each in read["arguments"]
            ],
            online=_online(read["online"], closed),
        )

    return _read(path, "explain", taken)


def _rows(rows: Sequence[Mapping[str, Any]], secret: Sequence[bool]) -> Iterator[dict[str, Any]]:
    if len(rows) > _MOST_ROWS:
        raise ValueError(
            f"it has {len(rows):,} rows, and {_MOST_ROWS:,} can be drawn; use a smaller "
            + option("around=", "--around")
        )
    for row in rows:
        times = {name: row[name] and _text(row[name]) for name in ("event", "known_from", "until")}
        values = [None if hide else _value(each) for each, hide in zip(row["values"], secret, strict=False)]
        yield filled(verdict=_text(row["verdict"]), position=_count(row["position"]), **times) | {"values": values}


def _online(online: Any, closed: bool) -> dict[str, Any] | None:
    if isinstance(online, str):
        return {"said": "there is nothing to compare with online"}  # a message may name files and hosts
    if online is None:
        return None
    why = [] if closed else [_text(each, 1_000) for each in online["why"]]
    return filled(equal=online["equal"] is True, exported=_text(online["exported_at"]), why=why)


def _read(path: Path, command: str, taken: Callable[[Mapping[str, Any]], _Found]) -> _Found:
    wrong = f"{path} cannot be shown as the JSON of pit-join {command}"
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise PitJoinError(f"{wrong}: it is larger than {_MOST_BYTES:,} bytes")
        read = json.loads(text)
        if not isinstance(read, dict):
            raise TypeError("it is not an object of JSON")
        return taken(read)
    except OSError as error:
        raise PitJoinError(f"{path} cannot be read: {error.strerror or error}") from error
    except LookupError as error:
        raise PitJoinError(f"{wrong}: it has no {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise PitJoinError(f"{wrong}: {str(error)[:_LONGEST] or 'it is something else'}") from error


def _text(value: Any, most: int = _LONGEST) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{json_text(value)[:_LONGEST]} is not a text")
    return value if len(value) <= most else f"{value[: most - 1]}…"


def _value(value: Any) -> str:
    """Return a value as text, so that nothing depends on its type."""
    return "null" if value is None else _text(value if isinstance(value, str) else _short(value))


def _short(value: Any) -> str:
    text = json_text(value, ascii_only=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{json_text(value)[:_LONGEST]} is not a whole number")
    return value
