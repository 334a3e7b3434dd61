"""Builds of a project in another folder: the same names, other files, and nothing written anywhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from pit_join.errors import ProjectError
from pit_join.project.dbt_project import LOGGED_AS_JSON, Project, read_event, start_python
from pit_join.project.profile import redirected_profile

__all__ = ["Rebuilds"]


class Rebuilds:
    """A process of dbt that builds models of a project in a folder of scratch files; use it in a `with` statement.

    dbt parses the project once. Each build starts with the state of that parse.

    Args:
        project: the project.
        folder: an empty folder, its owner's alone: the profile that is written there may hold passwords.
        databases: the path of the scratch file of each database, by its name.
        copies: the path of a file with copies of inputs, which is attached as `COPIES`.
        redirected: the unique ids of the `sources`, `models` and `views` (among the models) that are built or read.
    """

    def __init__(
        self,
        project: Project,
        folder: Path,
        databases: Mapping[str, str],
        copies: str,
        redirected: Mapping[str, Sequence[str]],
    ) -> None:
        self._directory = project.directory
        profiles = project.profiles_dir / "profiles.yml"
        profile = redirected_profile(profiles, project.profile, project.connection, databases, copies)
        (folder / "profiles.yml").write_text(yaml.safe_dump(profile, allow_unicode=True))
        self._places = [
            "--target-path", str(folder / "dbt"), "--log-path", str(folder / "dbt"),
            "--project-dir", str(project.directory), "--profiles-dir", str(folder),
            "--target", project.connection.target,
        ]  # fmt: skip
        code = "from pit_join.project.rebuilding import serve_builds; serve_builds()"
        self._process = start_python(code, [], cwd=project.directory, stdin=-1)
        try:
            parse = [*LOGGED_AS_JSON, "parse", "--no-partial-parse", *self._places]
            self._send({"parse": parse, **{kind: list(ids) for kind, ids in redirected.items()}})
            said: list[str] = []
            if "exit" in self._receive(said, lambda event: None):
                raise ProjectError("\n".join([f"dbt cannot read the project {self._directory}:", *said]))
        except BaseException:
            self.close()
            raise

    def build(
        self,
        selectors: Sequence[str],
        *,
        end: datetime,
        start: datetime | None,
        seeds: bool,
        on_event: Callable[[dict[str, Any]], None],
    ) -> list[str] | None:
        """Build models, and with `seeds` the seeds among the selected nodes; return dbt's messages if that fails.

        `end` is when the last batch of microbatch models ends, at the latest. With a `start`, the end of the last
        build, incremental models go on with the table that is there, and microbatch models with the batches since.
        """
        kinds = ["--resource-type", "model", *(["--resource-type", "seed"] if seeds else [])]
        how = ["--full-refresh"]
        if start is not None:  # dbt reads whole seconds; the inputs are cut to the microsecond
            span = start, end + timedelta(seconds=1)
            names = ("--event-time-start", "--event-time-end")
            how = [text for name, time in zip(names, span, strict=True) for text in (name, f"{time:%Y-%m-%dT%H:%M:%S}")]
        command = ["build", *how, "--select", *selectors, *kinds]
        self._send({"arguments": [*LOGGED_AS_JSON, *command, *self._places], "end": end.isoformat()})
        said: list[str] = []
        status = self._receive(said, on_event)["exit"]
        return (said or [f"dbt ended with status {status} and did not say why"]) if status else None

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _receive(self, said: list[str], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Return the answer to the last message; events before it are passed on, and errors among them noted."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(('{"parsed"', '{"exit"')):
                return dict(json.loads(line))
            event = read_event(line)
            if event is None:
                continue
            on_event(event)
            name, level = event["info"]["name"], event["info"]["level"]
            if (level == "error" and name != "MainStackTrace") or name == "Text":
                said.append(" ".join(str(event["info"]["msg"]).split()))
        return {"exit": self._process.wait()}

    def close(self) -> None:
        """End dbt."""
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Rebuilds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
