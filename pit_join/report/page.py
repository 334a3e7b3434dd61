"""The page as one HTML file with its style, script and data, and a policy that allows nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from pit_join.errors import PitJoinError

__all__ = ["embedded", "make_page", "policy_of"]

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("elements", "search", "catalogue", "lineage", "monitoring", "findings", "main")
_PLACE = re.compile(r"@(TITLE|POLICY|STYLE|CONTENT|SCRIPT)@")
_NAMED = ("check", "place", "state", "view", "feature")
_HASH = r"'sha256-[A-Za-z0-9+/]{43}='"
_POLICY = re.compile(
    rf'<meta http-equiv="Content-Security-Policy" content="(default-src \'none\'; script-src {_HASH}; '
    rf"style-src {_HASH}; base-uri 'none'; form-action 'none')\">"
)


def make_page(content: Mapping[str, Any]) -> bytes:
    """Return the page of a content, see `report.Report`; all of the content is data, and none of it markup."""
    style = (_ASSETS / "page.css").read_text("utf-8")
    script = "".join((_ASSETS / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "TITLE": escape(_plain(f"{content['project']}: features")),
        "POLICY": policy,
        "STYLE": style,
        "CONTENT": embedded({**content, "monitoring": content["monitoring"] and _compacted(content["monitoring"])}),
        "SCRIPT": script,
    }
    # In one pass, since the data may hold the name of a place, too.
    return _PLACE.sub(lambda place: parts[place[1]], (_ASSETS / "page.html").read_text("utf-8")).encode()


def embedded(content: Any) -> str:
    r"""Return plain values as JSON that can neither end a script element nor begin a comment in one.

    >>> print(embedded({"name": "</script><!--"}))
    {"name":"\u003c/script>\u003c!--"}
    """
    text = json.dumps(_plain(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def policy_of(page: bytes) -> str:
    """Return the Content-Security-Policy that a page of `make_page` names.

    Raises:
        PitJoinError: if the page names none, or another one.
    """
    found = _POLICY.search(page[:2_000].decode("utf-8", "replace"))
    if found is None:
        raise PitJoinError("it is not a page of pit-join report")
    return found[1]


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Ready(list[Any]):
    """A list without texts, in which there is nothing to make plain."""


def _compacted(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the series of `monitored` as columns of numbers, which a page reads faster than as many objects.

    Names are numbers in `names`. `rest` has by number of a series what few have: its texts, distribution and breaches.
    """
    names: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: _Ready() for name in (*_NAMED, "value", "bound", "history")}
    rest = {}
    for number, one in enumerate(found["series"]):
        for name in _NAMED:
            columns[name].append(names.setdefault(str(one.get(name) or ""), len(names)))
        columns["value"].append(one.get("value"))
        columns["bound"].append(one.get("bound"))
        columns["history"].append([part for run, value, _ in one["history"] for part in (run, value)])
        more = {name: one[name] for name in ("role", "text", "impact", "owner", "shares") if name in one}
        if breached := [run for run, _, over in one["history"] if over]:
            more["breached"] = breached
        if more:
            rest[str(number)] = more
    return {"runs": found["runs"], "names": list(names), "columns": columns, "rest": rest}


def _plain(value: Any) -> Any:
    """Return a value in whose texts nothing is invisible or changes the direction of what follows."""
    if isinstance(value, _Ready):
        return value
    if isinstance(value, str):
        return value if value.isprintable() else "".join(map(_visible, value))
    if isinstance(value, Mapping):
        return {_plain(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _visible(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()
