"""Mutants of the macros that decide a result, made from whatever their text is.

Each differs in one token: a comparison, a ± 1, a null test, the direction of an order, the greater for the smaller.
Comments, names and what only reads declarations are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.rule_sql import MACRO, MACROS, macro_nodes

NOT_THE_RULE = {"declared", "commands", "tests"}
"""Folders of macros that read declarations or put statements together."""
READERS = {
    *("_requests", "_duration", "_identifier", "_on_demand", "_aggregations", "_view", "_statements", "feature_views"),
}
"""The same by file, as long as they are not in these folders."""

SKIPPED = r"\{#.*?#\}|--[^\n]*|/\*.*?\*/"
SWAPS = (
    (r">=", ">"),
    (r"<=", "<"),
    (r"(?<![<>=!~-])>(?!=)", ">="),
    (r"(?<![<>=!])<(?![=>])", "<="),
    (r"(?<=\w |\) )=(?= [\w{(])", "<>"),
    (r"\bis not distinct from\b", "is distinct from"),
    (r"\bis distinct from\b", "is not distinct from"),
    (r"\bis not null\b", "is null"),
    (r"\bis null\b", "is not null"),
    (r"\bnulls last\b", "nulls first"),
    (r"\bnulls first\b", "nulls last"),
    (r"\+ 1\b", "- 1"),
    (r"(?<=[\w)}] )- 1\b", "+ 1"),
    (r"(?<=\{\{ )0(?= if)", "1"),
    (r"(?<=\{\{ )1(?= if)", "0"),
    (r"\bdesc\b", "asc"),
    (r"\bgreatest\b(?=\()", "least"),
    (r"\bleast\b(?=\()", "greatest"),
    (r"\bmax\b(?=\()", "min"),
    (r"\bmin\b(?=\()", "max"),
    (r"\bpreceding\b", "following"),
)
"""Patterns of a token, and what stands there in the mutant."""
TOKEN = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|" + SKIPPED + r"|'[^']*'|\"[^\"]*\"|\w+|\s+|.", re.DOTALL)
END_OF_ORDER = {"rows", "range", "groups", "limit", "qualify", "window"}


@dataclass(frozen=True)
class Mutant:
    """A macro with one token changed, and where."""

    macro: str
    line: int
    change: str
    source: str

    @property
    def name(self) -> str:
        """The place, and what was changed."""
        return f"{self.macro}:{self.line} {self.change}"

    def macros(self) -> dict[str, Any]:
        """All macros, with this one in place of the macro of its name."""
        nodes = dict(macro_nodes())
        key = f"macro.pit_join.{self.macro}"
        return nodes | {key: {**nodes[key], "macro_sql": self.source}}


def mutants() -> Iterator[Mutant]:
    """Yield every mutant of every macro of the rule and of windows."""
    for path in sorted(MACROS.rglob("*.sql")):
        if NOT_THE_RULE.isdisjoint(path.relative_to(MACROS).parts) and path.stem not in READERS:
            for found in MACRO.finditer(path.read_text()):
                yield from mutants_of(found["name"], found[0])


def mutants_of(macro: str, source: str) -> Iterator[Mutant]:
    """Yield the mutants of one macro."""
    skipped = [match.span() for match in re.finditer(SKIPPED, source, re.DOTALL)]
    head = source.index("%}")
    changes = [
        (match.start(), match.end(), other)
        for pattern, other in SWAPS
        for match in re.finditer(pattern, source)
        if not (other == "<>" and in_jinja(source, match.start()))
    ]
    changes += [(at, at, " desc") for at in rising_terms(source)]
    for start, end, other in sorted(changes):
        if start > head and not any(low <= start < high for low, high in skipped):
            line = source.count("\n", 0, start) + 1
            change = f"{' '.join(source[max(0, start - 25) : end].split())!r} -> {other.strip()!r}"
            yield Mutant(macro, line, change, source[:start] + other + source[end:])


def in_jinja(source: str, at: int) -> bool:
    """Whether a place is in a tag, where one sign of equality sets a name."""
    return any(source.rfind(begin, 0, at) > source.rfind(end, 0, at) for begin, end in (("{%", "%}"), ("{{", "}}")))


def rising_terms(source: str) -> Iterator[int]:
    """Yield the ends of the terms of `order by` that have no direction of their own."""
    for match in re.finditer(r"\border by\b", source):
        depth, end, last = 0, None, ""
        for token in TOKEN.finditer(source, match.end()):
            text = token[0]
            closes = text == ")" and depth == 0
            if closes or (depth == 0 and (text == "," or text in END_OF_ORDER)):
                if end is not None and last not in ("desc", "asc", "last", "first"):
                    yield end
                end = None
                if text != ",":
                    break
            elif not text.isspace() and not text.startswith(("{%", "{#", "--", "/*")):
                depth += (text == "(") - (text == ")")
                end, last = token.end(), text
