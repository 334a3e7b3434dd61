"""Check the English of docstrings, comments, messages and docs for patterns that a native reader stumbles over.

python scripts/check_words.py [FILE ...]
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = ("pit_join", "macros", "scripts", "docs", "README.md", "CONTRIBUTING.md")

# In any prose: docstrings, comments, messages, pages. "is None" is right of a Python value: case counts there.
PROSE = {
    "write 'is not a ...'": re.compile(r"(?<![Tt]here )\b(is|are) (none|no (?!longer\b|more\b|sooner\b|such\b))\b"),
    "name the reader, the caller, the user": re.compile(
        r"(?<![,:] )\b(he|she) (for|who|that|whose)\b|\bwho(ever)? (reads|asks|follows|writes|waits|calls)\b", re.I
    ),
    "name what is said and by whom: 'called with messages'": re.compile(r"\btold (what|how|when)\b", re.I),
    "write 'overlapping', 'merged'": re.compile(r"\bmelt(ed|s)?\b", re.I),
    "write 'put in double quotes', 'is called'": re.compile(r"\bthat (gives|takes) time\b", re.I),
    "write 'any longer' once": re.compile(r"\bno longer any\b", re.I),
}  # fmt: skip
# In docstrings and in the comments at the head of a macro.
DOCSTRING = {
    "write 'returns', or name the value": re.compile(r"\bgives?\b"),
}
OPENING = re.compile(r"(What|Who|Whose|How|Where|Why|When|Which|All that|That|Those)\b")
LONGEST_OPENING = 20


def files() -> list[Path]:
    """Return the files with prose that git knows or would add; without git, all files in their places."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PLACES]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout
        paths = [ROOT / name for name in listing.decode().split("\0")]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for place in PLACES for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    kinds = (".py", ".sql", ".md")
    return [path for path in paths if path.suffix in kinds and path.is_file() and path != Path(__file__).resolve()]


def problems(path: Path) -> Iterator[str]:
    """Yield `file:line: what to write instead: the words found` for one file."""
    for line, kind, text in sorted(prose_of(path)):
        rules = {**PROSE, **DOCSTRING} if kind == "docstring" else PROSE
        for advice, rule in rules.items():
            for found in rule.finditer(text):
                number = line + text[: found.start()].count("\n")
                yield f"{path}:{number}: {advice}: {around(text, found)}"
        if kind == "docstring":
            yield from (f"{path}:{line}: {problem}" for problem in opening_problems(text))


def prose_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the kind (`docstring` or `prose`) and the text of every piece of prose in a file."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from python_prose(text)
    elif path.suffix == ".sql":
        for found in re.finditer(r"\{#-?(.*?)-?#\}", text, re.DOTALL):
            yield text[: found.start(1)].count("\n") + 1, "docstring", found[1]
    else:
        # Code blocks keep their lines, so that line numbers stay right.
        blanked = re.sub(
            r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
        )
        yield 1, "prose", re.sub(r"`[^`\n]*`", "``", blanked)


def python_prose(text: str) -> Iterator[tuple[int, str, str]]:
    tree = ast.parse(text)
    documented = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                first = node.body[0]
                documented.add(first.lineno)
                yield first.lineno, "docstring", re.sub(r">>> .*", "", docstring)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.lineno not in documented:
            yield node.lineno, "prose", node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], "prose", token.string


def opening_problems(docstring: str) -> Iterator[str]:
    opening = re.split(r"\n\s*\n|(?<=[.;])\s", docstring.strip(), maxsplit=1)[0]
    if OPENING.match(opening):
        yield f"open with a verb or with the name of the thing: {opening[:60]}"
    if len(opening.split()) > LONGEST_OPENING:
        yield f"open with at most {LONGEST_OPENING} words: {opening[:60]}"


def around(text: str, found: re.Match[str]) -> str:
    return " ".join(text[max(0, found.start() - 30) : found.end() + 30].split())


def main() -> int:
    paths = [Path(name).resolve() for name in sys.argv[1:]] or files()
    found = [problem for path in sorted(paths) for problem in problems(path)]
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"words: {len(paths)} files checked, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
