"""Run a command while a PostgreSQL server runs, which the demo's target `postgres` names.

    python scripts/with_postgres.py COMMAND [ARGUMENT ...]

The server is new, empty and on a free port, and ends with the command. If PIT_JOIN_DEMO_HOST names a server, the
command uses that one. The exit status is that of the command, or 2 if no server is installed.
"""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))


def main() -> int:
    if not sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    with ExitStack() as stack:
        if "PIT_JOIN_DEMO_HOST" not in os.environ:
            from support.postgres import running_postgres

            try:
                url = urlsplit(stack.enter_context(running_postgres()))
            except FileNotFoundError as error:
                print(f"{error}; or name a server: see the target postgres in profiles/profiles.yml", file=sys.stderr)
                return 2
            os.environ.update(
                PIT_JOIN_DEMO_HOST=str(url.hostname),
                PIT_JOIN_DEMO_PORT=str(url.port),
                PIT_JOIN_DEMO_USER=str(url.username),
                PIT_JOIN_DEMO_DATABASE=url.path[1:],
            )
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
