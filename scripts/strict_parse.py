"""Parse a dbt project with every deprecation reported, and fail on any warning.

dbt checks YAML keys and configs against its schemas only where all adapters are in a short list, and
DuckDB is not in it: a misspelt or moved key passes in silence, until the release in which it is an error.
This script adds DuckDB to the list.

    python scripts/strict_parse.py [PROJECT_DIR [PROFILES_DIR]]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Parsing sends no statistics, whatever the project says.
os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"

from dbt.cli.main import dbtRunner
from dbt.jsonschemas import jsonschemas
from dbt_common.events.base_types import EventLevel, EventMsg


def strict_parse(project_dir: Path, profiles_dir: Path) -> list[str]:
    """Return every warning and error of a full parse, in dbt's order."""
    # Without a default: if dbt renames the set, this fails instead of checking nothing. A test plants a bad key, too.
    jsonschemas._JSONSCHEMA_SUPPORTED_ADAPTERS.add("duckdb")
    found: list[str] = []

    def collect(event: EventMsg) -> None:
        if event.info.level in (EventLevel.WARN, EventLevel.ERROR):
            found.append(event.info.msg)

    with tempfile.TemporaryDirectory() as scratch:
        # A separate target directory, so that no earlier partial parse is used, and the project's manifest stays.
        command = ["parse", "--no-partial-parse", "--show-all-deprecations"]
        command += ["--log-level", "none", "--no-use-colors"]  # the callback shows them
        command += ["--project-dir", str(project_dir), "--profiles-dir", str(profiles_dir)]
        command += ["--target-path", scratch, "--log-path", scratch]
        result = dbtRunner(callbacks=[collect]).invoke(command)
    if not result.success and not found:
        found.append(str(result.exception))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project_dir", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("profiles_dir", nargs="?", type=Path)
    arguments = parser.parse_args()
    project_dir = arguments.project_dir.resolve()
    found = strict_parse(project_dir, arguments.profiles_dir or project_dir / "profiles")
    for message in found:
        print(message, file=sys.stderr)
    print(f"strict dbt parse: {len(found)} warnings and errors")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
