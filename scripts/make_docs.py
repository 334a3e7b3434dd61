"""Write the pages that are made from the code; with --check, fail if one of them is stale.

docs/cli.md comes from the --help of every command, docs/macros.md from the comment at the head of every public macro,
the table of wings in CONTRIBUTING.md from their docstrings and from the test of layers, and the table of macros and
engines in docs/engines.md from the marks `proves` and `refuses` of the tests. A new command, macro, wing or mark
appears in its page without an edit here.
"""

import argparse
import ast
import difflib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from pit_join.cli.main import main as command_line

ROOT = Path(__file__).parents[1]
WIDTH = 100  # fixed, since the page must not depend on the width of the terminal

CLI_HEAD = """\
# The command line

Generated from `--help` by `make docs`; do not edit.
"""
MACROS_HEAD = """\
# The macros

Generated from the comments in `macros/` by `make docs`; do not edit.

A project that has the package (see the [tutorial](tutorial.md)) calls them as `pit_join.NAME`. The rule they follow is
in [concepts](concepts.md). `training_set`, `latest_snapshot` and the generic tests read the declarations of feature
views; their parts `point_in_time_join`, `window_features` and `spine_rows` read no declarations. Macros that differ
between engines are dispatched: `duckdb__` is for DuckDB, `default__` is SQL that runs on other engines too, and a
project may define its own. In a join only one private macro differs, `_joined`: an ASOF join on DuckDB, joins of their
own on PostgreSQL and Spark, and portable SQL elsewhere.
"""
TESTS_HEAD = """\
# Generic tests

Used in YAML under `data_tests` of a model, as `pit_join.NAME`; arguments go under `arguments`.
"""

WINGS_BEGIN = "<!-- The wings of pit_join/: made by `make docs`, do not edit. -->"
WINGS_END = "<!-- The end of the wings. -->"
MATRIX_BEGIN = "<!-- Macros and engines: made by `make docs` from the marks of the tests, do not edit. -->"
MATRIX_END = "<!-- The end of macros and engines. -->"
ENGINES = {"duckdb": "DuckDB", "postgres": "PostgreSQL", "spark": "Spark"}

COMMENT = re.compile(r"\{#-?(.*?)-?#\}", re.DOTALL)
DEFINITION = re.compile(r"\{%-?\s*(?:macro|test)\s+(\w+)\((.*?)\)\s*-?%\}", re.DOTALL)
ARGUMENT = re.compile(r"(\w[\w, ]*?) {2,}(.+)")
LABEL = re.compile(r"(Grain|Nulls|Order|Interval ends): (.*)")


def cli_page() -> str:
    """Return the page of the command line."""
    return "\n".join([CLI_HEAD, *commands(command_line, "pit-join")])


def commands(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """Yield the section of a command, then those of its subcommands in alphabetical order."""
    settings = command.context_settings | {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent, info_name=name, **settings)
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"## {context.command_path}\n\n```text\n{help_text}\n```\n"
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None and not child.hidden:
                yield from commands(child, child_name, context)


def macros_page() -> str:
    """Return the page of the macros and generic tests."""
    macros = [macro_section(path) for path in public(ROOT / "macros")]
    tests = [macro_section(path) for path in public(ROOT / "macros" / "tests")]
    return "\n".join([MACROS_HEAD, *macros, TESTS_HEAD, *tests])


def public(folder: Path) -> list[Path]:
    """Return the files of the public macros, one a file; names of private files start with an underscore."""
    return sorted(path for path in folder.glob("*.sql") if not path.name.startswith("_"))


def macro_section(path: Path) -> str:
    """Return the section of one public macro: its call and the contract at the head of its file."""
    name = f"{path.parent.name}/{path.name}"
    source = path.read_text(encoding="utf-8")
    comment, definition = COMMENT.match(source), DEFINITION.search(source)
    if comment is None or definition is None or definition[1] != path.stem:
        raise SystemExit(f"{name} must open with the contract of a public macro, and then define {path.stem}")
    arguments = re.sub(r"\s+", " ", definition[2])
    call = f"pit_join.{path.stem}({arguments})"
    text, _, example = dedented(comment[1]).partition("\nExample:")
    parts = [f"## {path.stem}\n\n```jinja\n{call}\n```\n", *contract(text)]
    if example:
        parts.append(f"Example:\n\n```jinja\n{textwrap.dedent(example).strip()}\n```\n")
    return "\n".join(parts)


def dedented(comment: str) -> str:
    """Return a comment's text without its margin; the first line may follow the comment's opening directly."""
    first, _, rest = comment.strip("\n").partition("\n")
    if first.startswith("    "):
        return textwrap.dedent(comment.strip("\n")).rstrip()
    return f"{first.strip()}\n{textwrap.dedent(rest)}".strip()


def contract(text: str) -> Iterator[str]:
    """Yield Markdown for a contract.

    Paragraphs stay as they are, lines of `name  meaning` become a list, labels are bold, and lines after a blank line
    that are indented by four are code.
    """
    items: list[str] = []
    for line in text.splitlines():
        argument, label = ARGUMENT.fullmatch(line), LABEL.fullmatch(line)
        in_code = bool(items) and (not items[-1] or items[-1].startswith("    "))
        if not line.strip():
            items.append("")
        elif in_code and line.startswith("    "):
            items.append(line)
        elif argument:
            names = ", ".join(f"`{name.strip()}`" for name in argument[1].split(","))
            items.append(f"* {names}: {escaped(argument[2])}")
        elif label:
            items.extend(["", f"**{label[1]}:** {escaped(label[2])}"])
        elif line.startswith("  ") and items and items[-1]:
            items.append(f"  {escaped(line.strip())}")
        else:
            items.append(escaped(line.strip()))
    yield re.sub(r"\n{3,}", "\n\n", "\n".join(items)).strip() + "\n"


def contributing_page() -> str:
    """Return CONTRIBUTING.md with the current table of wings."""
    lines = ["| wing | contents | third-party packages |", "| --- | --- | --- |", *wing_rows()]
    return between("CONTRIBUTING.md", WINGS_BEGIN, WINGS_END, lines)


def engines_page() -> str:
    """Return docs/engines.md with the current table of macros and engines."""
    lines = [f"| macro | {' | '.join(ENGINES.values())} | others |", f"| --- {'| --- ' * len(ENGINES)}| --- |"]
    return between("docs/engines.md", MATRIX_BEGIN, MATRIX_END, [*lines, *matrix_rows()])


def between(name: str, begin: str, end: str, lines: list[str]) -> str:
    """Return a page with other lines between two markers."""
    before, first, rest = (ROOT / name).read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise SystemExit(f"{name} must have the lines {begin} and {end}")
    return "\n".join([before + first, "", *lines, "", last + after])


def matrix_rows() -> Iterator[str]:
    """Yield a row for each public macro that a test marks, with links to the tests."""
    found: dict[tuple[str, str], list[str]] = {}
    names = [path.stem for folder in ("macros", "macros/tests") for path in public(ROOT / folder)]
    for path, word, engine, macros in marks():
        if unknown := {engine, *macros} - {*ENGINES, *names}:
            raise SystemExit(f"{path}: the mark {word} names {', '.join(sorted(unknown))}")
        for macro in macros:
            cell = f"[{'proven' if word == 'proves' else 'refused'}](../{path})"
            if cell not in found.setdefault((macro, engine), []):
                found[macro, engine].append(cell)
    for macro in names:
        cells = [", ".join(found.get((macro, engine), ["not run"])) for engine in ENGINES]
        if any((macro, engine) in found for engine in ENGINES):
            yield f"| `{macro}` | {' | '.join(cells)} | not run |"


def marks() -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield the file, the word, the engine and the macros of each mark of a test."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                word = ast.unparse(mark).partition("(")[0].rpartition(".")[2]
                if isinstance(mark, ast.Call) and word in ("proves", "refuses"):
                    engine, *macros = map(ast.literal_eval, mark.args)
                    yield path.relative_to(ROOT).as_posix(), word, engine, macros


def wing_rows() -> Iterator[str]:
    """Yield a row for each wing of the test of layers, from the top down."""
    tree = ast.parse((ROOT / "tests/python/test_layers.py").read_text(encoding="utf-8"))
    (wings,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WINGS"
    )
    for row, packages in ast.literal_eval(wings).items():
        for wing in row:
            folder = ROOT / "pit_join" / wing
            name, path = (f"{wing}/", folder / "__init__.py") if folder.is_dir() else (f"{wing}.py", f"{folder}.py")
            what = str(ast.get_docstring(ast.parse(Path(path).read_text(encoding="utf-8")))).splitlines()[0]
            yield f"| `{name}` | {what.replace('|', chr(92) + '|')} | {', '.join(sorted(packages))} |"


def escaped(text: str) -> str:
    """Return text with Markdown's signs escaped, except within backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<\[]|(?<!\w)_|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


PAGES = {
    "docs/cli.md": cli_page,
    "docs/macros.md": macros_page,
    "CONTRIBUTING.md": contributing_page,
    "docs/engines.md": engines_page,
}


def main() -> int:
    """Write or check every page, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = 0
    for name, make in PAGES.items():
        page, wanted = ROOT / name, make()
        found = page.read_text(encoding="utf-8") if page.exists() else ""
        if not check:
            page.parent.mkdir(exist_ok=True)
            page.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
        elif found == wanted:
            print(f"{name} is up to date")
        else:
            lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), name, "made now", lineterm="")
            print("\n".join(lines), file=sys.stderr)
            print(f"{name} is stale: run `make docs`", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
