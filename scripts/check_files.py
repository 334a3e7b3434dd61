"""Check every file for what no other tool sees: machine paths, hosts of package indexes, stray whitespace.

python scripts/check_files.py [FILE ...]
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Written so that this file does not match itself.
RULES = {
    "names the host of a package index": re.compile(
        r"(pypi|pythonhosted|npmjs|anaconda|getdbt)\.(org|io|com)|(deb|security)\.debian\.org", re.IGNORECASE
    ),
    "sets a package index of its own": re.compile(r"--(?:(extra-)?index-url|find-links|trusted-host)"),
    "holds an absolute path of one machine": re.compile(r"(?<![\w.~*})/-])/(root|home|Users|work|opt|tmp)/\w"),
    "has whitespace at its end": re.compile(r"[ \t\r]$"),
    "is a leftover of a merge": re.compile(r"^(<{7}|>{7}|={7})( |$)"),
}
MAX_BYTES = 1_000_000
# Compared byte for byte with what dbt renders, whitespace and all.
VERBATIM = ("golden",)
SKIPPED = {"target", "logs", "dbt_packages", "dist", "build", "__pycache__"}


def skipped(directories: tuple[str, ...]) -> bool:
    """Return whether a file in these directories is not part of the project; used only where there is no git."""
    return any(name in SKIPPED or (name.startswith(".") and name != ".ci") for name in directories)


def project_files() -> Iterator[Path]:
    """Yield the files that git knows or would add; without git, every file outside build directories."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout
        paths = [ROOT / name for name in listing.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not skipped(path.relative_to(ROOT).parts[:-1])]
    yield from (path for path in paths if path.is_file() and not path.is_symlink())


def problems(path: Path) -> Iterator[str]:
    """Yield `file:line: what is wrong` for one file; binary files are only measured."""
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        yield f"{path}: is larger than {MAX_BYTES:,} bytes"
    if b"\0" in data or any(part in VERBATIM for part in path.parts):
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield f"{path}: is not UTF-8"
        return
    if text and not text.endswith("\n"):
        yield f"{path}: has no newline at its end"
    for number, line in enumerate(text.split("\n"), start=1):
        for what, rule in RULES.items():
            if rule.search(line):
                yield f"{path}:{number}: {what}: {line.strip()[:100]}"


def main() -> int:
    paths = [Path(name) for name in sys.argv[1:]] or list(project_files())
    found = [problem for path in sorted(paths) for problem in problems(path)]
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"files: {len(paths)} checked, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
