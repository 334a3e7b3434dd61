"""A program that builds one project again and again, each time in a fork. Outside world: dbt, in this process.

It reads one JSON object a line: first what to parse and to redirect, then each build. Its answers are dbt's events, and
`{"parsed": true}` or `{"exit": status}` at the end of each.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dbt.cli.main import dbtRunner
from dbt.task import run

__all__ = ["serve_builds"]


def serve_builds() -> None:
    """Parse the project, and build it as each line of the input says, until there are no more."""
    asked = json.loads(sys.stdin.readline())
    parsed = dbtRunner().invoke(asked["parse"])
    if not parsed.success:
        _say(str(parsed.exception or ""))
        _say(json.dumps({"exit": 1}))
        return
    _redirect(parsed.result, asked)
    _say(json.dumps({"parsed": True}))
    for line in sys.stdin:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with its parent, as that does with its own
            os._exit(_build(parsed.result, json.loads(line)))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _say(json.dumps({"exit": status}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _redirect(manifest: Any, asked: Mapping[str, Any]) -> None:
    """Let the manifest read and write only tables of the profile's databases."""
    for unique_id in asked["sources"]:
        source = manifest.sources[unique_id]
        for settings in (source.meta, source.config.meta, source.config._extra):
            for name in ("external_location", "plugin"):
                settings.pop(name, None)
    for unique_id in asked["models"]:
        config = manifest.nodes[unique_id].config
        # A file elsewhere is not written; the rows of a view are kept, since its inputs are cut again for each build.
        if config.materialized == "external" or (config.materialized == "view" and unique_id in asked["views"]):
            config.materialized = "table"
    for unique_id, node in list(manifest.nodes.items()):
        # It checks declarations, which the command has read already.
        if node.resource_type == "operation" and node.package_name == "pit_join":
            del manifest.nodes[unique_id]


def _build(manifest: Any, asked: Mapping[str, Any]) -> int:
    # The end of the last batch of microbatch models. The option --event-time-end needs a start, too, and would replace
    # the `begin` of every model.
    run.get_invocation_started_at = lambda: datetime.fromisoformat(asked["end"])
    done = dbtRunner(manifest=manifest).invoke(asked["arguments"])
    _say(str(done.exception or ""))
    return 0 if done.success else 1
