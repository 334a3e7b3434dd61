"""Exports of the command to several stores in folders: views that move, kills between stores, two exports at once.

Every value tells by which export it was written (see `online_worker`).
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from online_cases import contents_of
from online_worker import VIEWS, written
from support.processes import ENVIRONMENT, PIT_JOIN, python
from support.projects import BASE, KEYS, Result, make_project, run, view
from support.runs import sampled

from pit_join import FeatureStore
from pit_join.online.opening import open_store

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
GENERATIONS, USERS = 4, 50
PLACES = {"balance": "", "clicks": "a", "visits": "b"}


class Projects:
    """One for each way to spread the views over stores, with the same data; dbt parses each once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, dict[tuple[str, ...], Path]()

    def of(self, places: Mapping[str, str]) -> Path:
        stores = tuple((PLACES | dict(places)).values())
        if stores not in self._made:
            made = make_project(
                self._folder / str(len(self._made)), dict(zip(VIEWS, map(declared, VIEWS, stores), strict=True))
            )
            with duckdb.connect(str(made / "warehouse.duckdb")) as connection:
                for name in VIEWS:
                    connection.execute(
                        f"create table {name} as select 'u' || i as user_id, "
                        "timestamptz '2026-01-01 00:00:00+00' + to_hours(g) as event_timestamp, "
                        f"i * 1000 + g as {name}_number, i + g / 1024 as {name}_share, "
                        f"i || ' of ' || g as {name}_text, [i, g + 1]::float[2] as place "
                        f"from range({USERS}) as r(i), range({GENERATIONS}) as s(g)"
                    )
            assert run("--project-dir", str(made), "views").status == 0  # parses here, and for all commands
            self._made[stores] = made
        return self._made[stores]


def declared(name: str, store: str) -> str:
    """A view in a store."""
    columns = f"{BASE}, {{name: {name}_number, data_type: bigint}}, {{name: {name}_share, data_type: double}}, "
    columns += f"{{name: {name}_text, data_type: varchar}}"
    if name == "visits":
        columns += ", {name: place, data_type: 'float[2]', config: {meta: {pit_join: {nearest: l2}}}}"
    return view(f"{KEYS}, online_store: {store}" if store else KEYS, columns)


class Lab:
    """A project, its stores by name, and the command."""

    def __init__(self, projects: Projects, folder: Path) -> None:
        self._projects, self.folder = projects, folder
        self.urls = {name: str(folder / f"store{name}") for name in ("", "a", "b")}
        self.move({})

    def move(self, places: Mapping[str, str]) -> None:
        """Declare other stores."""
        self.project = self._projects.of(places)

    def command(self, *arguments: str) -> list[str]:
        stores = [f"{name}={url}" if name else url for name, url in self.urls.items()]
        return ["--project-dir", str(self.project), *(part for url in stores for part in ("--store", url)), *arguments]

    def exporting(self, generation: int, *options: str) -> list[str]:
        return self.command("export", "--as-of", (START + timedelta(hours=generation, minutes=1)).isoformat(), *options)

    def export(self, generation: int, *options: str) -> Result:
        done = run(*self.exporting(generation, *options))
        assert done.status == 0, done.err
        return done

    def client(self) -> FeatureStore:
        named = {name: url for name, url in self.urls.items() if name}
        return FeatureStore(online_store=self.urls[""], online_stores=named)

    def generations(self, client: FeatureStore | None = None) -> dict[str, int]:
        """Which generation each view is served of; all of its keys and features must be of one."""
        client = client or self.client()
        references = [f"{name}:{name}_{what}" for name in VIEWS for what in ("number", "share", "text")]
        found = client.get_online_features(references, {"user_id": [f"u{i}" for i in range(USERS)]})
        assert {status for each in found.statuses.values() for status in each} == {"PRESENT"}
        values = found.to_dict()
        seen = {name: values[f"{name}_number"][0] % 1000 for name in VIEWS}
        for i in range(USERS):
            for name, generation in seen.items():
                wanted = {n: v for n, v in written(i, generation).items() if n.startswith(name)}
                assert {n: values[n][i] for n in wanted} == wanted
        return seen

    def holds(self) -> dict[str, dict[str, int]]:
        """The views that have records in each store, and how many; beside what the store says."""
        found = {}
        for name, url in self.urls.items():
            with closing(open_store(url)) as store:
                views = contents_of(store).views.values()
                found[name] = {each.name: number for each in views if (number := len(list(store.scan(each))))}
        return found


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Projects:
    return Projects(tmp_path_factory.mktemp("projects"))


@pytest.fixture
def lab(projects: Projects, tmp_path: Path) -> Lab:
    return Lab(projects, tmp_path)


def of(generation: int, **others: int) -> dict[str, int]:
    return {**dict.fromkeys(VIEWS, generation), **others}


def test_verify_looks_into_all_stores(lab: Lab) -> None:
    lab.export(1)
    assert lab.holds() == {"": {"balance": USERS}, "a": {"clicks": USERS}, "b": {"visits": USERS}}
    done = run(*lab.command("verify", "--all"))
    assert (done.status, done.out.splitlines()[-1]) == (0, "3 views, 150 keys, 500 values compared: 0 differences")
    for was, is_now in ((3001, 7), (7, 3001)):
        with duckdb.connect(str(lab.project / "warehouse.duckdb")) as connection:
            connection.execute(f"update visits set visits_number = {is_now} where visits_number = {was}")
        done = run(*lab.command("verify", "--all")) if is_now == 7 else done
    assert done.status == 1
    assert re.search(r"visits +user_id=u3 +visits_number +7 +3001", done.out), done.out


def test_neighbours_in_another_store(lab: Lab) -> None:
    lab.export(1)
    found = lab.client().nearest("visits", "place", [10.2, 2.0], 2)
    assert [(each.keys["user_id"], round(each.distance, 6)) for each in found] == [("u10", 0.2), ("u11", 0.8)]


@pytest.mark.parametrize("options", sampled([(), ("--select", "clicks")], 1))
def test_a_view_moves_between_named_stores(lab: Lab, options: tuple[str, ...]) -> None:
    lab.export(0)
    client = lab.client()
    lab.move({"clicks": "b"})
    lab.export(1, *options)
    wanted = of(0, clicks=1) if options else of(1)
    assert lab.generations(client) == lab.generations() == wanted
    assert lab.holds()["b"] == {"clicks": USERS, "visits": USERS}
    lab.move({"clicks": "a", "visits": "a"})
    lab.export(2)
    assert lab.generations(client) == lab.generations() == of(2)
    both = {"clicks": USERS, "visits": USERS}
    assert lab.holds() == {"": {"balance": USERS}, "a": both, "b": both}  # what no view names is left as it is
    lab.move({"clicks": "a"})
    lab.export(3)
    lab.export(3)  # where it was, nobody looks for `visits` any more
    assert lab.holds() == {"": {"balance": USERS}, "a": {"clicks": USERS}, "b": {"visits": USERS}}
    assert lab.generations(client) == of(3)
    assert run(*lab.command("verify", "--all")).status == 0


def test_a_view_that_moves_to_the_default_store_and_back(lab: Lab) -> None:
    lab.export(0)
    client = lab.client()
    for generation, places in enumerate([{"clicks": ""}, {}, {"balance": "b"}], start=1):
        lab.move(places)
        lab.export(generation)
        assert lab.generations(client) == lab.generations() == of(generation)


# One store after the other is written; this one ends after so many.
DIE = """
import os, signal
from pit_join.cli import main as cli
from pit_join.online.stores.lmdb_store import LmdbWriter
original, left = LmdbWriter.replace, int(sys.argv.pop(1))
def replace(self, *arguments):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return original(self, *arguments)
LmdbWriter.replace = replace
cli.run()
"""


@pytest.mark.kill
@pytest.mark.parametrize(
    ("stores", "moved"),
    sampled(
        [(1, {}), (2, {}), (1, {"clicks": "b"}), (1, {"visits": ""}), (1, {"balance": "a"}), (2, {"balance": "a"})], 2
    ),
    ids=str,
)
def test_a_kill_between_two_stores(lab: Lab, stores: int, moved: dict[str, str]) -> None:
    """Readers go on, also those that begin then; each view is whole; the next export is as if nothing had happened."""
    lab.export(0)
    client = lab.client()
    lab.move(moved)
    killed = python(DIE, stores, *lab.exporting(1))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for served in (lab.generations(client), lab.generations()):
        assert set(served.values()) <= {0, 1}
        assert served["balance"] == 0  # the default store is the last
        assert served["visits"] == (0 if "visits" in moved else 1)  # the one that is written first
    lab.export(2)
    assert lab.generations(client) == lab.generations() == of(2)
    assert run(*lab.command("verify", "--all")).status == 0
    assert lab.export(2, "--json").out.count('"written": 0') == 3


def test_two_exports_at_once(lab: Lab) -> None:
    """Of different views and stores: one waits for the other, and what both have written is there."""
    lab.export(0)
    commands = [
        [str(PIT_JOIN), *lab.exporting(generation, "--select", name)]
        for generation, name in enumerate(("clicks", "visits", "balance"), start=1)
    ]
    running = [subprocess.Popen(each, env=ENVIRONMENT, stdout=-3, stderr=-1, text=True) for each in commands]
    said = [each.communicate()[1] for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], said
    assert lab.generations() == {"clicks": 1, "visits": 2, "balance": 3}
    assert run(*lab.command("verify", "--all")).status == 0


def test_a_store_that_cannot_be_written_leaves_the_others(lab: Lab) -> None:
    lab.export(0)
    client = lab.client()
    Path(f"{lab.folder}/file").write_text("no folder")
    lab.urls["b"], real = f"{lab.folder}/file", lab.urls["b"]
    failed = run(*lab.exporting(1))
    assert failed.status == 3, failed
    assert re.fullmatch(r"Error: .*file.*\n", failed.err), failed.err
    lab.urls["b"] = real
    assert lab.generations(client) == lab.generations() == of(0)


def test_a_store_that_lost_everything(lab: Lab) -> None:
    """Its features are defaults until it is exported to again, whatever is exported in between."""
    lab.export(0)
    for file in Path(lab.urls["a"]).iterdir():
        file.unlink()
    lab.export(1, "--select", "visits")
    found = lab.client().get_online_features([f"{name}:{name}_number" for name in VIEWS], [{"user_id": "u5"}])
    assert found.to_dict() == {
        "user_id": ["u5"], "balance_number": [5000], "clicks_number": [None], "visits_number": [5001],
    }  # fmt: skip
    assert list(found.statuses.values()) == [["PRESENT"], ["STORE_FAILED"], ["PRESENT"]]
    assert "run pit-join export" in json.dumps(found.failures)
    lab.export(2)
    assert lab.generations() == of(2)
