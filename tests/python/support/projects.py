"""A small dbt project in a folder, and the command on it in this process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pit_join.cli.main import main

ROOT = Path(__file__).parents[3]
KEYS = "entity: user, join_keys: [user_id]"
BASE = "{name: user_id, data_type: varchar}, {name: event_timestamp, data_type: timestamptz}"
VALUE = "{name: value, data_type: double}"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


def run(*arguments: str, cwd: Path | None = None) -> Result:
    """The command in this process; an exception that it lets through, a traceback for the user, is raised here."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved, folder = [os.dup(1), os.dup(2)], os.getcwd()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.chdir(cwd or folder)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main.main(args=list(arguments), prog_name="pit-join")
                    status = 0
                except SystemExit as end:
                    status = end.code if isinstance(end.code, int) else 99
        finally:
            os.chdir(folder)
            for number, old in enumerate(saved, start=1):
                os.dup2(old, number)
                os.close(old)
        texts = []
        for stream in (out, err):
            stream.flush()
            stream.seek(0)
            texts.append(stream.read())
    return Result(status, *texts)


def make_project(folder: Path, views: dict[str, str], exposures: str = "", macros: bool = True) -> Path:
    """A dbt project with models that dbt never builds; `views` maps a name to the YAML that follows it."""
    for name in ("models", "profiles", "seeds"):
        (folder / name).mkdir(parents=True)
    if macros:
        shutil.copytree(ROOT / "pit_join" / "dbt_package", folder / "dbt_packages" / "pit_join")
    (folder / "dbt_project.yml").write_text("name: shop\nprofile: shop\nmodels: {+materialized: table}\n")
    profile = "shop:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: warehouse.duckdb}\n"
    (folder / "profiles" / "profiles.yml").write_text(profile)
    for name in views:
        (folder / "models" / f"{name}.sql").write_text("select 1 as one")
    listed = "".join(f"  - name: {json.dumps(name, ensure_ascii=False)}\n{rest}" for name, rest in views.items())
    (folder / "models" / "models.yml").write_text(f"models:\n{listed}{exposures}", encoding="utf-8")
    return folder


def view(meta: str, columns: str, event_time: str = "event_timestamp", more: str = "") -> str:
    event = f"event_time: {event_time}, " if event_time else ""
    meta = meta if meta.startswith("!") else f"{{{meta}}}"
    config = f"{{{event}{more}meta: {{pit_join: {meta.removeprefix('!')}}}}}"
    return f"    config: {config}\n    columns: [{columns}]\n"
