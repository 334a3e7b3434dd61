"""A dbt project on disk: its profile, its manifest and dbt itself. Outside world: the project's files and dbt.

dbt is started only when the project's files have changed since the manifest was made, since it takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from pit_join.errors import ProjectError, option
from pit_join.project.profile import read_profile, read_yaml

__all__ = ["Project"]

_ENV_VAR = re.compile(rb"env_var\(\s*['\"]([^'\"]+)['\"]")
# What dbt says of a template, without what it says of itself.
_WHY = re.compile(
    r"(?:Error while parsing node: inline_query|Compilation Error.*)\n(.*?)(?=\n\s*(?:Encountered an error|>)|\s*\Z)",
    re.DOTALL,
)
# dbt warns of an entry of YAML without a model, seed, snapshot or macro, and goes on without it.
_WITHOUT_FILE = re.compile(
    r"(Found patch for macro .* which was not found|Did not find matching node .* of file '(.*)')"
)
_DEFINITIONS = (".sql", ".yml", ".yaml", ".md", ".py")
_FOLDERS = ("model-paths", "seed-paths", "macro-paths", "test-paths", "snapshot-paths", "analysis-paths", "docs-paths")


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
        self.profiles_dir = self._find_profiles(Path(profiles_dir) if profiles_dir else None)
        self.connection = read_profile(
            self.profiles_dir / "profiles.yml", self._settings.get("profile"), target, self.directory
        )

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
    def warehouse(self) -> Path:
        """The DuckDB file that dbt writes."""
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
        code = "import ctypes, signal; ctypes.CDLL(None).prctl(1, signal.SIGKILL)" if sys.platform == "linux" else ""
        process = subprocess.Popen(
            [
                sys.executable, "-c", f"{code}\nfrom dbt.cli.main import cli; cli()",
                "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check",
                "--log-format", "json", "--log-level", "info", "--log-level-file", "none", "--no-write-json",
                *arguments,
                "--target-path", str(folder), "--log-path", str(folder),
                "--project-dir", str(self.directory), "--profiles-dir", str(self.profiles_dir),
                "--target", self.connection.target,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.directory, pass_fds=inherited,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    event = None
                if isinstance(event, dict) and "info" in event:
                    yield event
                elif line.strip():
                    yield {"info": {"name": "Text", "level": "info", "msg": line.rstrip()}, "data": {}}
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
        self._parsed = self._key()
        path = self.cache / f"manifest-{self._parsed}.json"
        if not path.is_file():
            self._parse(self.cache, path)
        return dict(json.loads(path.read_bytes()))

    def unused_entries(self) -> list[str]:
        """Return dbt's warnings of YAML entries without a file, in the files of the last `manifest`."""
        path = self.cache / f"unused-{self._parsed}.json"
        said = json.loads(path.read_bytes()) if path.is_file() else []
        return [text for text, file in said if not file or (self.directory / file).is_file()]

    def compile(self, inline: str) -> str:
        """Return a template as dbt itself renders it.

        Raises:
            ProjectError: with what dbt says, or if the files are no longer those of the last `manifest`.
        """
        if self._key() != self._parsed:
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

    def _files(self) -> Iterator[Path]:
        """Yield the files that hold definitions, in a fixed order."""
        defaults = {folder: [folder.removesuffix("-paths") + "s"] for folder in _FOLDERS} | {
            "analysis-paths": ["analyses"]
        }
        folders = [name for key in _FOLDERS for name in self._settings.get(key) or defaults[key]]
        folders.append(self._packages)
        for name in ("dbt_project.yml", "packages.yml", "dependencies.yml", "package-lock.yml"):
            yield self.directory / name
        yield self.profiles_dir / "profiles.yml"
        seen: set[str] = set()
        for folder in folders:
            for root, subfolders, names in os.walk(self.directory / folder, followlinks=True):
                real = os.path.realpath(root)
                if real in seen:
                    subfolders.clear()
                    continue
                seen.add(real)
                subfolders.sort()
                yield from (Path(root, name) for name in sorted(names))

    def _key(self) -> str:
        """Return a hash of everything that dbt's parse depends on, apart from the rows of seeds."""
        from importlib.metadata import version

        digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-duckdb')}".encode())
        variables: set[bytes] = set()
        for path in self._files():
            digest.update(f"\0{path}\0".encode())
            if path.suffix in _DEFINITIONS and path.is_file():
                content = path.read_bytes()
                digest.update(content)
                variables.update(_ENV_VAR.findall(content))
        for name in sorted(variables):
            digest.update(f"\0{name.decode()}={os.environ.get(name.decode())}".encode())
        return digest.hexdigest()[:24]

    def _parse(self, folder: Path, path: Path) -> None:
        self._on_parse("the project has changed: dbt parses it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="parse-") as scratch:
                said = self._dbt("parse", "--no-partial-parse", "--target-path", scratch)
                for old in (*folder.glob("manifest-*.json"), *folder.glob("unused-*.json")):
                    old.unlink(missing_ok=True)
                (folder / f"unused-{self._parsed}.json").write_text(json.dumps(_WITHOUT_FILE.findall(said)))
                os.replace(Path(scratch) / "manifest.json", path)
        except OSError as error:
            raise ProjectError(f"cannot keep the manifest in {folder}: {error}") from error

    def _dbt(self, *arguments: str) -> str:
        command = [
            sys.executable, "-c", "from dbt.cli.main import cli; cli()",
            "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check",
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
