"""Pages of the documentation: their files, commands and shown output, and what comes of following them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.forks import programs

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(?:^`(?P<file>[\w./-]+)`\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A file to write (`text` is its content), or a command to run (`text` is what it prints)."""

    file: str | None
    command: str | None
    text: str


def steps(page: Path, heading: str = "") -> Iterator[Step]:
    """The files and commands of a page in order; with `heading`, those of that section only."""
    text = page.read_text()
    if heading:
        text = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    for block in BLOCK.finditer(text):
        if block["file"]:
            yield Step(block["file"], None, block["text"])
        elif block["language"] == "console":
            for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                command, shown = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL).groups()
                yield Step(None, command, shown)


def environment() -> dict[str, str]:
    """What a reader's shell has: the commands of this virtual environment, which are forks."""
    ours = {
        "PATH": os.pathsep.join([str(programs()), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "NO_COLOR": "1",
        "MAKEFLAGS": "",
    }
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | ours


def run(command: str, directory: Path) -> str:
    """What a command prints, on both channels; `.venv` is this virtual environment."""
    command = command.replace("\\\n", " ").removeprefix(".venv/bin/")
    done = subprocess.run(
        command, shell=True, cwd=directory, env=environment(), timeout=120, check=False,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def comparable(output: str) -> list[str]:
    """Lines without what differs from run to run: colours, dbt's clock, times taken and the widths that follow."""
    text = re.sub(r"\x1b\[\d*m", "", output)
    text = re.sub(r"^\d\d:\d\d:\d\d +", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d+\.\d+ s\b", "N s", text)
    text = re.sub(r"-{2,}", "--", text)
    return [re.sub(r" +", " ", line).strip() for line in text.strip().splitlines()]


def differs(shown: str, printed: str) -> str:
    """How what was printed differs from what the page shows; empty if it doesn't."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in comparable(shown))
    found = "".join(f"{line}\n" for line in comparable(printed))
    return "" if re.fullmatch(pattern, found) else f"--- the page shows\n{shown}--- printed\n{printed}"


def follow(some_steps: Iterable[Step], directory: Path) -> list[str]:
    """Do what a page says; gives the differences, up to the first command whose output is another."""
    for step in some_steps:
        if step.file:
            path = directory / step.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(step.text)
        else:
            printed = run(str(step.command), directory)
            if difference := differs(step.text, printed):
                return [f"$ {step.command}\n{difference}"]
    return []


def table(page: Path, first: str) -> list[list[str]]:
    """The rows of the table whose heading starts with the cell `first`."""
    lines = page.read_text().split(f"\n| {first} | ", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
