"""A dbt project on disk: its profile, its manifest and dbt itself. Outside world: the project's files and dbt.

dbt is started only where neither it nor pit-join has read the project's files as they are now, since it takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from pit_join.errors import ProjectError, option
from pit_join.files import whole
from pit_join.project.parse_record import ParseRecord, find_record
from pit_join.project.profile import read_profile, read_yaml
from pit_join.project.sources import Sources, environment

__all__ = ["LOGGED_AS_JSON", "Project", "read_event", "start_python"]

LOGGED_AS_JSON = (
    "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check",
    "--log-format", "json", "--log-level", "info", "--log-level-file", "none", "--no-write-json",
)  # fmt: skip
"""The options with which dbt logs events, one a line, and writes no artifacts."""

# What dbt says of a template, without what it says of itself.
_WHY = re.compile(
    r"(?:Error while parsing node: inline_query|Compilation Error.*)\n(.*?)(?=\n\s*(?:Encountered an error|>)|\s*\Z)",
    re.DOTALL,
)


class Project:
    """A dbt project in a folder.

    `profiles_dir` defaults to the project's `profiles/`, then to dbt's own search (DBT_PROFILES_DIR, the project,
    ~/.dbt); `target` to the profile's. `on_parse` is called with a message when dbt has to be started.

    Raises:
        ProjectError: if there is no readable dbt project or profile.
    """

    def __init__(
        self,
        directory: str | Path = ".",
        profiles_dir: str | Path | None = None,
        target: str | None = None,
        on_parse: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.directory = Path(directory).resolve()
        path = self.directory / "dbt_project.yml"
        if not path.is_file():
            raise ProjectError(
                f"{self.directory} is not a dbt project (it has no dbt_project.yml); go into one or give "
                + option("project_dir=", "--project-dir")
            )
        self._settings = read_yaml(path)
        self._on_parse = on_parse
        self._parsed = ""
        self._unused: list[str] = []
        self.profiles_dir = self._find_profiles(Path(profiles_dir) if profiles_dir else None)
        self.connection = read_profile(self.profiles_dir / "profiles.yml", self.profile, target, self.directory)

    @property
    def profile(self) -> Any:
        """The name of the profile as dbt_project.yml has it, which may be a template."""
        return self._settings.get("profile")

    @property
    def dispatch_order(self) -> dict[str, list[str]]:
        """The packages in which the project looks for macros, by namespace."""
        return {entry["macro_namespace"]: entry["search_order"] for entry in self._settings.get("dispatch") or []}

    @property
    def cache(self) -> Path:
        """The folder of caches, which can be made again from the project's files."""
        target = os.environ.get("DBT_TARGET_PATH") or self._settings.get("target-path") or "target"
        return self.directory / target / "pit_join" / self.connection.target

    @property
    def _packages(self) -> Path:
        return self.directory / (self._settings.get("packages-install-path") or "dbt_packages")

    def _of_packages(self) -> list[Path]:
        """Return the dbt_project.yml of each package."""
        return sorted(self._packages.glob("*/dbt_project.yml"))

    @property
    def variables(self) -> dict[str, Any]:
        """The `vars` of dbt_project.yml and of the packages, which no manifest holds."""
        packages = {f"package {path.parent.name}": read_yaml(path).get("vars") for path in self._of_packages()}
        return (self._settings.get("vars") or {}) | {name: own for name, own in packages.items() if own}

    @property
    def has_warehouse(self) -> bool:
        """Whether there is something to open: a file that dbt has written, or a server."""
        return self.connection.engine != "duckdb" or self.warehouse.is_file()

    @property
    def ledger(self) -> Path:
        """The file of batches that are done: beside the warehouse, or in the project if that is a server."""
        if self.connection.engine == "duckdb":
            return self.warehouse.with_name(self.warehouse.name + ".batches.jsonl")
        return self.directory / f"{self.connection.target}.batches.jsonl"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that dbt writes; only where dbt writes one."""
        return Path(next(iter(self.connection.databases.values())).path)

    def last_run(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the results and the manifest of dbt's own last command, if both are of one command.

        Returns None also if a dbt_project.yml is newer, since the manifest does not hold its variables.
        """
        folder = self.cache.parents[1]
        try:
            results = json.loads((folder / "run_results.json").read_bytes())
            manifest = json.loads((folder / "manifest.json").read_bytes())
            projects = (self.directory / "dbt_project.yml", *self._of_packages())
            changed = max(path.stat().st_mtime for path in projects)
            written = (folder / "run_results.json").stat().st_mtime
        except (OSError, ValueError):
            return None
        same = results["metadata"]["invocation_id"] == manifest["metadata"]["invocation_id"]
        return (results, manifest) if same and changed <= written else None

    def run(self, *arguments: str, inherited: Sequence[int] = ()) -> Generator[dict[str, Any], None, None]:
        """Run a dbt command and yield its log events; the last item is `{"exit": status}`.

        The command writes under `cache`, so that the files of the user's own dbt stay. On Linux dbt is killed when this
        process ends; everywhere it keeps the file descriptors `inherited` open until it ends itself.
        """
        folder = self.cache / "run"
        process = start_python(
            "from dbt.cli.main import cli; cli()",
            [
                *LOGGED_AS_JSON, *arguments,
                "--target-path", str(folder), "--log-path", str(folder),
                "--project-dir", str(self.directory), "--profiles-dir", str(self.profiles_dir),
                "--target", self.connection.target,
            ],
            cwd=self.directory, pass_fds=inherited,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if event := read_event(line):
                    yield event
            yield {"exit": process.wait()}
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            process.stdout.close()

    def manifest(self) -> dict[str, Any]:
        """Return dbt's manifest of the project's files as they are now.

        Raises:
            ProjectError: with what dbt says, if it cannot read the project.
        """
        sources = self._sources()
        self._parsed = sources.key
        path = self.cache / f"manifest-{sources.key}.json"
        manifest = self._kept(path)
        if manifest is None:
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                text = self._find_manifest(sources)
                for old in self.cache.glob("manifest-*.json"):
                    old.unlink(missing_ok=True)
                with whole(path) as name:
                    Path(name).write_text(text)
            except OSError as error:
                raise ProjectError(f"cannot keep the manifest in {self.cache}: {error}") from error
            manifest = dict(json.loads(text))
        self._unused = manifest.pop("unused_entries")
        return manifest

    def unused_entries(self) -> list[str]:
        """Return what is wrong with YAML entries without a file, in the files of the last `manifest`."""
        return self._unused

    def compile(self, inline: str) -> str:
        """Return a template as dbt itself renders it.

        Raises:
            ProjectError: with what dbt says, or if the files are no longer those of the last `manifest`.
        """
        if self._sources().key != self._parsed:
            raise ProjectError("the project has changed while the command ran; run the command again")
        self._on_parse("asking dbt to compile, since the project overrides a macro")
        try:
            output = self._dbt("compile", "--inline", inline, "--no-populate-cache", "--output", "json", "--quiet")
        except ProjectError as error:
            why = _WHY.search(str(error))
            said = " ".join(why[1].split()).replace("dbt_macro__", "") if why else str(error)
            raise ProjectError(f"dbt cannot render it: {said}") from error
        start = output.find("{")
        if start < 0:
            raise ProjectError(f"dbt compiled nothing: {output.strip()}")
        return str(json.loads(output[start:])["compiled"])

    def _find_profiles(self, given: Path | None) -> Path:
        environment = os.environ.get("DBT_PROFILES_DIR")
        places = (
            [given]
            if given
            else [
                self.directory / "profiles",
                *([Path(environment)] if environment else []),
                self.directory,
                Path.home() / ".dbt",
            ]
        )
        for place in places:
            if (place / "profiles.yml").is_file():
                return place.resolve()
        raise ProjectError(
            f"no profiles.yml in {', '.join(str(place) for place in places)}; write one or give "
            + option("profiles_dir=", "--profiles-dir")
        )

    def _sources(self) -> Sources:
        return Sources.read(self.directory, self._packages, self.profiles_dir / "profiles.yml", self.connection)

    def _kept(self, path: Path) -> dict[str, Any] | None:
        """Return the manifest in a file, unless it was made with other environment variables than those of now."""
        try:
            manifest: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        same = all(environment(name) == value for name, value in manifest["env_vars"].items())
        return manifest if same else None

    def _find_manifest(self, sources: Sources) -> str:
        """Return the manifest as JSON from dbt's record if that is of the very files, otherwise by a parse."""
        own = self.cache / f"parsed-{sources.state}.msgpack"
        project = sources.packages[0].name
        found = find_record(sources, self.cache.parents[1] / "partial_parse.msgpack", own)
        if found and not found[1] and sources.complete:
            return found[0].manifest(project)
        # Without a record nothing is known to have changed; dbt's own is read only where the engine is DuckDB.
        self._on_parse("the project has changed: dbt parses it" if found else "dbt parses the project")
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="parse-") as scratch:
            path = Path(scratch, "partial_parse.msgpack")
            begin = ["--no-partial-parse"]
            if found:
                record, changed = found
                record.copy(path, self.connection.target, changed)
                begin = ["--partial-parse-file-path", str(path), "--partial-parse-file-diff"]
            self._dbt("parse", *begin, "--no-write-json", "--target-path", scratch)
            if self._sources().key != sources.key:
                raise ProjectError("the project has changed while the command ran; run the command again")
            manifest = ParseRecord(path).manifest(project)
            for old in self.cache.glob("parsed-*.msgpack"):
                old.unlink(missing_ok=True)
            os.replace(path, own)
        return manifest

    def _dbt(self, *arguments: str) -> str:
        command = [
            # dbt only allocates: a sixth of its CPU time would go into looking for garbage.
            sys.executable, "-c", "import gc; gc.set_threshold(100_000, 50, 100); from dbt.cli.main import cli; cli()",
            "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check",
            # Although it writes no log, dbt makes the folder of logs.
            "--log-level-file", "none", "--log-path", str(self.cache),
            *arguments,
            "--project-dir", str(self.directory), "--profiles-dir", str(self.profiles_dir),
            "--target", self.connection.target,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.directory)
        if done.returncode:
            said = re.sub(r"(?m)^\d\d:\d\d:\d\d  ?", "", done.stdout)
            said = said.split("Traceback (most recent call last)")[0]
            said = re.sub(r"(?m)^(Running with dbt|Registered adapter).*\n", "", said).strip() or done.stderr.strip()
            raise ProjectError(f"dbt cannot read the project {self.directory}:\n{said}")
        return done.stdout


def start_python(code: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start Python with code that imports dbt; its output is a pipe. On Linux it is killed when this process ends."""
    die = "import ctypes, signal; ctypes.CDLL(None).prctl(1, signal.SIGKILL)" if sys.platform == "linux" else ""
    command = [sys.executable, "-c", f"{die}\n{code}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def read_event(line: str) -> dict[str, Any] | None:
    """Return an event that dbt has logged; other text becomes one, too, and an empty line is None."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "info" in event:
        return event
    return {"info": {"name": "Text", "level": "info", "msg": line.rstrip()}, "data": {}} if line.strip() else None
