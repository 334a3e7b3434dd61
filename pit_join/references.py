"""References to features as people write them: `view:feature`, `view:*`, and roles such as `alias=view(key=column)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pit_join.errors import ReferenceError

__all__ = ["Request", "parse_features", "parse_role", "split_list"]

_PART = r'("(?:[^"]|"")+"|[^":,=()]+)'
_REFERENCE = re.compile(f"{_PART}:{_PART}")
_ROLE = re.compile(rf"(?:{_PART}=)?{_PART}(?:\((.*)\))?", re.DOTALL)
_ITEM = r'(?:"(?:[^"]|"")*"|\((?:"(?:[^"]|"")*"|[^()"])*\)|[^,"()])*'
_MAPPING = re.compile(f"{_PART}={_PART}")


@dataclass(frozen=True, slots=True)
class Request:
    """Features of one view in one role.

    `join_keys` maps a key of the view to the spine's column where the names differ; `features` are names or `*`.
    """

    view: str
    features: tuple[str, ...]
    alias: str
    join_keys: Mapping[str, str] = field(default_factory=dict)

    def as_macro_argument(self) -> dict[str, Any]:
        """The form that the `training_set` macro takes."""
        return {
            "view": self.view,
            "as": self.alias,
            "join_keys": dict(self.join_keys),
            "features": list(self.features),
        }


def _plain(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.strip()


def split_list(text: str) -> list[str]:
    """Split at the commas that stand outside double quotes and parentheses; blanks around items go.

    Raises:
        ReferenceError: if a quote or parenthesis is left open.

    >>> split_list('a:x, "b,c":y')
    ['a:x', '"b,c":y']
    """
    found = re.fullmatch(rf"{_ITEM}(?:,{_ITEM})*", text)
    if found is None:
        raise ReferenceError(f"cannot read the references '{text}': a double quote or parenthesis is not closed")
    return [item.strip() for item in re.findall(f"({_ITEM})(?:,|$)", text) if item.strip()]


def parse_role(text: str) -> Request:
    """Read a role: `view(key=column)`, `alias=view(key=column,...)` or `alias=view`; it asks for no features yet.

    Raises:
        ReferenceError: if the text has another form.

    >>> parse_role("dest_weather=weather(airport=dest)")
    Request(view='weather', features=(), alias='dest_weather', join_keys={'airport': 'dest'})
    """
    found = _ROLE.fullmatch(text.strip())
    mappings = [_MAPPING.fullmatch(item) for item in split_list(found[3] or "")] if found else []
    if found is None or not all(mappings) or (found[3] is not None and not mappings):
        raise ReferenceError(
            f"cannot read the view '{text}'; write view(key=column), alias=view or alias=view(key=column)"
        )
    view = _plain(found[2])
    pairs = [(_plain(mapping[1]), _plain(mapping[2])) for mapping in mappings if mapping]
    keys = dict(pairs)
    if len(keys) < len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise ReferenceError(f"the key '{twice}' is given twice in the view '{text}'")
    return Request(view=view, features=(), alias=_plain(found[1]) if found[1] else view, join_keys=keys)


def parse_features(
    features: Sequence[str | Mapping[str, Any]], roles: Iterable[Request] = (), where: str = ""
) -> tuple[Request, ...]:
    """Read a list of references and role mappings into requests, in the order given.

    Items are `"view:feature"`, `"alias:feature"` for one of `roles`, or `{view, as, join_keys, features}` as in a
    service's YAML. `where` opens the error message.

    Raises:
        ReferenceError: naming the item that cannot be read.

    >>> parse_features(["weather:temp"])
    (Request(view='weather', features=('temp',), alias='weather', join_keys={}),)
    """
    by_alias: dict[str, Request] = {}
    for role in roles:
        if role.alias in by_alias:
            raise ReferenceError(f"{where}the view '{role.alias}' is given twice; name one of them alias=view")
        by_alias[role.alias] = role
    used: set[str] = set()
    requests = []
    for item in features:
        if isinstance(item, Mapping):
            requests.append(_mapped(item, where))
            continue
        found = _REFERENCE.fullmatch(str(item).strip())
        if found is None:
            raise ReferenceError(
                f"{where}cannot read the reference '{item}'; write view:feature or view:* "
                "(a part that holds , : = ( ) stands in double quotes)"
            )
        alias, feature = _plain(found[1]), _plain(found[2])
        used.add(alias)
        role = by_alias.get(alias, Request(view=alias, features=(), alias=alias))
        requests.append(Request(view=role.view, features=(feature,), alias=alias, join_keys=role.join_keys))
    if unused := [alias for alias in by_alias if alias not in used]:
        raise ReferenceError(
            f"{where}no feature of the view '{unused[0]}' is asked for; add for example '{unused[0]}:*' to the features"
        )
    return tuple(requests)


def _mapped(item: Mapping[str, Any], where: str) -> Request:
    allowed = {"view", "as", "join_keys", "features"}
    if unknown := sorted(set(item) - allowed):
        raise ReferenceError(
            f"{where}unknown key '{unknown[0]}' in {dict(item)}; allowed are as, features, join_keys, view"
        )
    view, features, keys = item.get("view"), item.get("features"), item.get("join_keys") or {}
    alias = item.get("as") or view
    if not isinstance(view, str) or not isinstance(alias, str):
        raise ReferenceError(f"{where}a role needs 'view' with the name of a feature view, got {dict(item)}")
    if not isinstance(features, list) or not features or not all(isinstance(name, str) for name in features):
        raise ReferenceError(
            f"{where}the role '{alias}' needs 'features', a list of names or [\"*\"], got {features!r}"
        )
    if not isinstance(keys, Mapping) or not all(isinstance(v, str) for v in keys.values()):
        raise ReferenceError(
            f"{where}'join_keys' of '{alias}' maps keys of the view to columns of the spine, got {keys!r}"
        )
    return Request(view=view, features=tuple(features), alias=alias, join_keys=dict(keys))
