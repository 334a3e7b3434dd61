"""The scratch folder of a replay: files with the names of the project's databases, and in them its inputs, cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pit_join.definitions.connection import Connection, Database
from pit_join.errors import WarehouseError
from pit_join.files import lock, private_folder
from pit_join.history.inputs import ModelInput
from pit_join.project.profile import COPIES, original_name
from pit_join.project.rendering import Macros
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal
from pit_join.workspace import Console

__all__ = ["Scratch", "scratch_folder"]

_WHAT = "the scratch files of the replay cannot be written"


@contextlib.contextmanager
def scratch_folder(kept: Path, console: Console) -> Iterator[Path]:
    """Yield an empty folder below `kept`, its owner's alone, which is removed at the end.

    One replay of a target runs at a time; what a killed one has left is removed first.
    """
    private_folder(kept)
    with (kept / "lock").open("w") as handle:
        lock(
            handle.fileno(), wait=console.wait, on_wait=console.warn, busy="another replay is at work",
            where=f"in {kept}", error=WarehouseError,
        )  # fmt: skip
        for left in kept.glob("scratch-*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=kept, prefix="scratch-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Scratch:
    """The databases of a project as a build finds them in a scratch folder.

    `copies` is a file with the inputs that are not tables of DuckDB, copied once, so that all builds read the same;
    of the others a build reads the original, through a view.
    """

    def __init__(self, folder: Path, connection: Connection, console: Console) -> None:
        self.folder, self._connection, self._console = folder, connection, console
        self.copies = str(folder / "copies.duckdb")
        self._build = folder / "build"
        self._relations: dict[str, str] = {}

    @property
    def databases(self) -> dict[str, str]:
        """The file of each database while dbt builds."""
        return self._files(self._build)

    def _files(self, folder: Path) -> dict[str, str]:
        # The file's own name is that of the database, where no alias says another.
        return {
            name: str(folder / str(number) / (Path(database.path).name if not number else "attached.duckdb"))
            for number, (name, database) in enumerate(self._connection.databases.items())
        }

    def copy(self, warehouse: DuckDBWarehouse, inputs: Sequence[ModelInput]) -> None:
        """Copy the inputs that are not tables of DuckDB, from a warehouse that is open."""
        numbers = {name.lower(): number for number, name in enumerate(self._connection.databases)}
        statements = []
        for number, one in enumerate(inputs):
            if one.location[0].lower() in numbers and warehouse.has_table(one.location):
                original = original_name(numbers[one.location[0].lower()])
                self._relations[one.name] = ".".join(map(identifier, (original, *one.location[1:])))
            else:
                self._relations[one.name] = f"{identifier(COPIES)}.main.input_{number}"
                statements.append(f"create table {self._relations[one.name]} as from {one.relation}")
        # A transaction writes to one database only.
        warehouse.execute(f"commit; attach {literal(self.copies)} as {identifier(COPIES)}; begin", _WHAT)
        for statement in statements:
            warehouse.execute(statement, "an input of the replay cannot be copied")
        warehouse.execute(f"commit; detach {identifier(COPIES)}; begin", _WHAT)

    def cut(self, macros: Macros, inputs: Sequence[ModelInput], span: Mapping[str, int | None], *, anew: bool) -> None:
        """Write the databases with the inputs of a span; `anew` removes what an earlier build has left there."""
        if anew:
            shutil.rmtree(self._build, ignore_errors=True)
        originals = {original_name(i): each for i, each in enumerate(self._connection.databases.values())}
        originals |= {COPIES: Database(self.copies, {"type": "duckdb"})}
        with DuckDBWarehouse(
            replace(self._connection, databases=originals), wait=self._console.wait, on_wait=self._console.warn
        ) as session:
            for name, path in self.databases.items():
                os.makedirs(Path(path).parent, mode=0o700, exist_ok=True)
                session.execute(f"commit; attach {literal(path)} as {identifier(name)}; begin", _WHAT)
                for one in inputs:
                    if one.location[0].lower() == name.lower():
                        self._write(session, macros, name, one, span)
                session.execute(f"commit; detach {identifier(name)}; begin", _WHAT)

    def _write(
        self, session: DuckDBWarehouse, macros: Macros, name: str, one: ModelInput, span: Mapping[str, int | None]
    ) -> None:
        rows = macros.text(
            "_cut_statement",
            relation=self._relations[one.name],
            known=one.known,
            updated=one.updated,
            span=span,
        )
        schema = f"{identifier(name)}.{identifier(one.location[1])}"
        session.execute(f"create schema if not exists {schema}", _WHAT)
        view = f"create or replace view {schema}.{identifier(one.location[2])} as {rows}"
        session.execute(view, f"the input '{one.name}' cannot be cut")

    def keep(self, name: str) -> dict[str, str]:
        """Move the databases of the last build aside, and return their files."""
        aside = self.folder / name
        shutil.rmtree(aside, ignore_errors=True)
        self._build.rename(aside)
        return self._files(aside)

    def put_back(self, name: str) -> None:
        """Let the next build go on with databases that were kept."""
        (self.folder / name).rename(self._build)
