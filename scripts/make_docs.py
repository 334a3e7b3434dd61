"""Write docs/cli.md from the --help of every command; with --check, fail if the file is stale.

The tree of click commands is walked, so a new command is in the page without an edit here.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pit_join.cli import main as command_line

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 100  # fixed: the page must not depend on the terminal it was made in
HEADER = """\
# The command line

Generated from `--help` by `make docs`; do not edit.
"""


def sections(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """Yield the section of a command, then those of its commands in alphabetical order."""
    context = click.Context(command, parent, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"## {context.command_path}\n\n```text\n{help_text}\n```\n"
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None and not child.hidden:
                yield from sections(child, child_name, context)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    wanted = "\n".join([HEADER, *sections(command_line, "pit-join")])
    name = f"{PAGE.parent.name}/{PAGE.name}"
    if parser.parse_args().check:
        found = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if found == wanted:
            print(f"{name} is up to date")
            return 0
        lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), name, "--help", lineterm="")
        print("\n".join(lines), file=sys.stderr)
        print(f"{name} is stale: run `make docs`", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(wanted, encoding="utf-8")
    print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
