"""The command line's own part: global options before and after the command, and what `--help` says of them."""

from __future__ import annotations

import ast
import inspect
import io
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from support.stores import put

import pit_join
from pit_join.cli.console import bar, messages
from pit_join.cli.main import main
from pit_join.errors import PitJoinError, RequestError, SpineError
from pit_join.feature_store import FeatureStore
from pit_join.online.opening import open_store
from pit_join.training.spine import check_columns, find_spine
from pit_join.warehouse.free_file import wait_until_free
from pit_join.warehouse.interrupts import interruptible
from pit_join.workspace import Console

# What each command needs to come as far as its store.
NEEDED = {
    "backfill": ("--dry-run",),
    "build-training-set": ("--spine", "labels", "--features", "v:f", "--output", "train.parquet"),
    "check": (),
    "describe": ("train.parquet",),
    "diff": ("train.parquet", "again.parquet"),
    "audit": ("a.parquet",),
    "explain": ("--feature", "v:f", "--at", "2026-03-18"),
    "export": (),
    "get": ("--entity", "user_id=42", "--service", "churn_v1"),
    "monitor": ("--log", "feature_log"),
    "report": ("--output", "features.html"),
    "serve": (),
    "verify": (),
    "views": (),
}
DEFAULTS = {
    "project_dir": Path("."),
    "profiles_dir": None,
    "target": None,
    "wait": 60.0,
    "online_store": None,
    "online_stores": {},
}
# A global option, its two values, and what `FeatureStore` is given for each.
GLOBAL = {
    "--project-dir": ("a", "b", {"project_dir": Path("a")}, {"project_dir": Path("b")}),
    "--profiles-dir": ("a", "b", {"profiles_dir": Path("a")}, {"profiles_dir": Path("b")}),
    "--target": ("dev", "prod", {"target": "dev"}, {"target": "prod"}),
    "--wait": ("0", "2.5", {"wait": 0.0}, {"wait": 2.5}),
    "--store": ("a", "redis://b:6379/0", {"online_store": "a"}, {"online_store": "redis://b:6379/0"}),
}


Opened = Callable[..., dict[str, Any]]


class Stopped(PitJoinError):
    """Raised in place of a feature store."""

    exit_status = 77


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Run a command as far as its feature store, and return what that is given."""
    given: dict[str, Any] = {}

    def note(**options: Any) -> None:
        given.update(options)
        raise Stopped

    def arguments_of(*arguments: str) -> dict[str, Any]:
        result = run(*arguments)
        assert result.exit_code == Stopped.exit_status, result.output
        return {name: given[name] for name in DEFAULTS}

    monkeypatch.setattr("pit_join.feature_store.FeatureStore", note)
    return arguments_of


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_every_command_is_tried_here() -> None:
    assert {*NEEDED, "dbt-package-path"} == set(main.commands)


@pytest.mark.parametrize("option", GLOBAL)
@pytest.mark.parametrize("command", NEEDED)
def test_global_options_stand_before_and_after(command: str, option: str, opened: Opened) -> None:
    one, other, as_one, as_other = GLOBAL[option]
    own = (command, *NEEDED[command])
    assert opened(*own) == DEFAULTS
    assert opened(option, one, *own) == DEFAULTS | as_one
    assert opened(*own, option, other) == DEFAULTS | as_other
    # At both places the one after the command counts, whichever it is.
    assert opened(option, one, *own, option, other) == DEFAULTS | as_other
    assert opened(option, other, *own, option, one) == DEFAULTS | as_one


@pytest.mark.parametrize("command", NEEDED)
def test_different_global_options_at_both_places(command: str, opened: Opened) -> None:
    arguments = ("--target", "prod", "--wait", "1", command, *NEEDED[command], "--project-dir", "p", "--wait", "0")
    expected = {"target": "prod", "project_dir": Path("p"), "wait": 0.0}
    assert opened(*arguments) == DEFAULTS | expected


@pytest.mark.parametrize("option", GLOBAL)
def test_the_path_of_the_package_takes_them_too(option: str) -> None:
    one, *_ = GLOBAL[option]
    assert run("dbt-package-path", option, one).output == run(option, one, "dbt-package-path").output
    assert Path(run("dbt-package-path", option, one).output.strip(), "dbt_project.yml").is_file()


@pytest.mark.parametrize("command", NEEDED)
def test_stores_add_up_by_name(command: str, opened: Opened) -> None:
    def named(before: str, after: str) -> tuple[Any, Any]:
        arguments = (*stores(before), command, *NEEDED[command], *stores(after))
        found = opened(*arguments)
        return found["online_store"], found["online_stores"]

    assert named("fast=a slow=b", "c") == ("c", {"fast": "a", "slow": "b"})
    assert named("c fast=a", "fast=b slow=d") == ("c", {"fast": "b", "slow": "d"})
    assert named("c", "fast=a") == ("c", {"fast": "a"})
    # Not a name: the text before a first `=` that no name can be.
    assert named("", "redis://host/0?cache=1") == ("redis://host/0?cache=1", {})


def stores(listed: str) -> list[str]:
    return [part for store in listed.split() for part in ("--store", store)]


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a b", "--store names a store twice"),
        ("fast=a fast=b", "--store names a store twice"),
        ("fast=", "--store is empty; give a folder or a URL"),
        ("fast=a =b =b", "--store names a store twice"),
    ],
)
def test_stores_that_are_refused(at: str, given: str, message: str) -> None:
    arguments = ("export", *stores(given)) if at == "after" else (*stores(given), "export")
    result = run(*arguments)
    assert (result.exit_code, result.output.splitlines()[-1]) == (2, f"Error: {message}")
    assert run("--store", "", "export").output.splitlines()[-1] == "Error: --store is empty; give a folder or a URL"


@pytest.mark.parametrize("command", main.commands)
def test_help_lists_global_options_apart(command: str) -> None:
    text = run(command, "--help").output
    own, shared = text.split("\nGlobal options:\n")
    for option in GLOBAL:
        assert f"\n  {option} " not in own, "a global option stands among the command's own"
        assert f"  {option} " in shared
    assert len(shared.splitlines()) <= 2 * len(GLOBAL), "they drown the command's own"
    assert "  -h, --help " in own


def test_the_help_of_all_teaches() -> None:
    text = run("--help").output
    shared = text.split("\nGlobal options:\n")[1]
    assert all(f"  {option} " in shared for option in GLOBAL)
    assert "before or after the command" in text
    taught = [line.split()[1] for line in text.splitlines() if line.startswith("    pit-join ")]
    assert taught == ["build-training-set", "export", "get"]


@pytest.mark.parametrize("command", main.commands)
def test_every_option_says_what_it_does(command: str) -> None:
    options = [param for param in main.commands[command].params if isinstance(param, click.Option)]
    assert not [option.name for option in options if not option.help]


# One word for one thing ------------------------------------------------------------------------------------------


class Recorder:
    """A feature store that notes how it is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any, **options: Any) -> None:
            self.calls.append((name, arguments, options))
            raise Stopped

        return note


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, ...]]:
    """Run a command, and return the call of the feature store that it makes."""

    def call_of(*arguments: str) -> tuple[Any, ...]:
        store = Recorder()
        monkeypatch.setattr("pit_join.feature_store.FeatureStore", lambda **given: store)
        result = run(*arguments)
        assert result.exit_code == Stopped.exit_status, result.output
        (call,) = store.calls
        return call

    return call_of


@pytest.mark.parametrize("command", ["backfill", "export", "verify"])
def test_views_are_selected(command: str, called: Callable[..., tuple[Any, ...]]) -> None:
    own = (command, *NEEDED[command])
    assert called(*own)[:2] == (command, ([],))
    assert called(*own, "--select", "a, b", "--select", "c")[:2] == (command, (["a", "b", "c"],))
    for empty in ("", " , "):
        result = run(*own, "--select", empty)
        assert (result.exit_code, result.output.splitlines()[-1]) == (
            2, "Error: --select is empty; name views, or leave it out",
        )  # fmt: skip


@pytest.mark.parametrize("command", ["build-training-set", "get"])
def test_roles_go_with_features(command: str, called: Callable[..., tuple[Any, ...]]) -> None:
    own = [command, *NEEDED[command][:2], "--features", "a:x, b:y", "--features", "c:z"]
    if command == "build-training-set":
        own += ["--output", "train.parquet"]
    _, positional, options = called(*own, "--role", "b=a(k=l)", "--role", "c=a", "--no-defaults")
    assert positional == (("labels",) if command == "build-training-set" else ())
    expected = {
        "features": ["a:x", "b:y", "c:z"],
        "roles": ("b=a(k=l)", "c=a"),
        "full_feature_names": False,
        "defaults": False,
    }
    assert {name: options[name] for name in expected} == expected
    for message, arguments in {
        "--role goes with --features; a service has its own roles": ("--service", "s", "--role", "b=a"),
        "give either --features or --service": ("--service", "s", "--features", "a:x"),
    }.items():
        result = run(command, *NEEDED[command][:2], *arguments)
        assert (result.exit_code, result.output.splitlines()[-1]) == (2, f"Error: {message}")


def test_names_of_options() -> None:
    """A name means one kind of value in all commands; only the file that a command is about is named by its place."""
    params = [param for command in main.commands.values() for param in command.params]
    for param in params:
        if not isinstance(param, click.Option):
            assert (param.metavar, type(param.type)) == ("FILE", click.Path)
    params = [param for param in params if isinstance(param, click.Option)]
    kinds: dict[str, set[object]] = {}
    for param in params:
        for name in (*param.opts, *param.secondary_opts):
            kinds.setdefault(name, set()).add((type(param.type), param.multiple))
    assert not {name for name, kind in kinds.items() if len(kind) > 1}
    assert not kinds.keys() & {"--view", "--views", "--from", "--to", "--plan"}


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.materialize(datetime(2026, 3, 1), datetime(2026, 3, 2)),
        lambda store: store.materialize("2026-03-01", "2026-03-02"),
        lambda store: store.materialize(start_date="2026-03-01", end_date="2026-03-02", feature_views=["a"]),
        lambda store: store.materialize(datetime(2026, 3, 1), datetime(2026, 3, 2), ["a"]),
        lambda store: store.materialize(datetime(2026, 3, 1)),
        lambda store: store.materialize_incremental(datetime(2026, 3, 2)),
        lambda store: store.materialize_incremental(end_date=datetime(2026, 3, 2), feature_views=["a"]),
    ],
)
def test_materialize_as_feast_has_it_explains(call: Callable[[FeatureStore], Any], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no start and no end.* call export\(as_of=end_date\)"):
        call(FeatureStore(tmp_path))


def test_materialize_is_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []
    monkeypatch.setattr(FeatureStore, "export", lambda self, *names, **options: asked.append((names, options)))
    FeatureStore(tmp_path).materialize(["a"], as_of="2026-03-01", dry_run=True)
    FeatureStore(tmp_path).materialize()
    assert asked == [((["a"],), {"as_of": "2026-03-01", "dry_run": True}), (((),), {"as_of": None, "dry_run": False})]


@pytest.mark.parametrize("call", ["export", "materialize", "verify", "backfill"])
def test_one_text_selects_as_on_the_command_line(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []

    def note(*arguments: Any, **options: Any) -> None:
        taken.append(next(each for each in arguments if isinstance(each, list)))

    for place in ("export.export.export", "monitoring.parity.verify", "history.backfill.backfill"):
        monkeypatch.setattr(f"pit_join.{place}", note)
    monkeypatch.setattr(
        "pit_join.feature_store.open_store", lambda url: io.BytesIO()
    )  # all that is done to it is to close it
    (tmp_path / "dbt_project.yml").write_text("{name: shop, profile: shop}")
    (tmp_path / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb, path: w.duckdb}}}")
    store = FeatureStore(tmp_path, online_store=tmp_path / "online")
    for select in ("a, b", ["a", "b"], ("a", "b")):
        getattr(store, call)(select)
    assert taken == [["a", "b"]] * 3


@pytest.mark.parametrize(
    "text",
    [
        "select * from labels",
        "SELECT\n*",
        "  with a as (select 1) select * from a",
        "(select 1)",
        "from labels select 1",
        "select " + "x, " * 2000,
    ],
)
def test_a_spine_is_not_sql_text(text: str) -> None:
    with pytest.raises(SpineError, match="a spine is not SQL text; write the query as a dbt model and give its name"):
        find_spine(text, {"metadata": {"project_name": "shop"}, "nodes": {}}, Path())


def test_a_file_may_be_called_like_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("with labels.csv").write_text("user_id,event_timestamp\n1,2026-03-01\n")
    assert (
        find_spine("with labels.csv", {"metadata": {"project_name": "shop"}, "nodes": {}}, tmp_path).source
        == "with labels.csv"
    )
    with pytest.raises(SpineError, match="there is no spine 'selection'"):
        find_spine("selection", {"metadata": {"project_name": "shop"}, "nodes": {}}, tmp_path)


# Messages and progress -------------------------------------------------------------------------------------------


class Working:
    """A feature store whose only method logs as a real one does."""

    def describe_views(self) -> list[Any]:
        log = logging.getLogger("pit_join")
        log.debug("a detail")
        log.info("the project has changed: 100 % of it")
        log.warning("another process holds the file; waiting up to %g s", 3)
        Console().progress(1, 2, "a view")
        return []


def test_messages_are_lines_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pit_join.feature_store.FeatureStore", lambda **given: Working())
    log = logging.getLogger("pit_join")
    before = (log.handlers[:], log.level, log.propagate)
    for _ in range(2):  # the second command is not told twice
        result = run("views", "--json")
        assert (result.exit_code, result.stdout) == (0, "[]\n")
        assert result.stderr.splitlines() == [
            "the project has changed: 100 % of it",
            "another process holds the file; waiting up to 3 s",
        ]
    assert (log.handlers, log.level, log.propagate) == before


def test_messages_end_with_a_command_that_fails(opened: Opened) -> None:
    log = logging.getLogger("pit_join")
    before = (log.handlers[:], log.level, log.propagate)
    opened("views")
    assert (log.handlers, log.level, log.propagate) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_is_a_bar_on_a_terminal(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    with messages(), bar():
        for done in range(3):
            Console().progress(done, 2, "user_activity" if done < 2 else "")
            time.sleep(0.15)  # the bar is drawn ten times a second
        logging.getLogger("pit_join").info("a message between")
    shown = sys.stderr.getvalue()
    assert "a message between" in shown
    assert ("user_activity" in shown, "writing" in shown, "100%" in shown) == (sys.stderr.isatty(),) * 3
    if sys.stderr.isatty():
        assert shown.endswith("\x1b[2K") or shown.rstrip().endswith("\x1b[?25h\x1b[2K"), "the bar is left standing"
    else:
        assert shown == "a message between\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("build-training-set --sql --output a.csv", "--output and --sql exclude each other; give one of them"),
        (
            "build-training-set --explain-plan --output a.csv",
            "--output and --explain-plan exclude each other; give one of them",
        ),
        ("build-training-set --explain-plan --sql", "--sql and --explain-plan exclude each other; give one of them"),
        ("build-training-set --sql --json", "--sql and --json exclude each other; give one of them"),
        ("verify --sample 10000 --all", "--sample and --all exclude each other; give one of them"),
        ("backfill --dry-run --apply", "--dry-run and --apply exclude each other; give one of them"),
        ("backfill --apply --dry-run", "--dry-run and --apply exclude each other; give one of them"),
        ("serve --log-sample 0.01", "--log-sample has no effect without --feature-log"),
    ],
)
def test_options_of_which_one_would_be_ignored(arguments: str, message: str, opened: Opened) -> None:
    command, *own = arguments.split()
    needed = ("--spine", "labels", "--features", "v:f") if command == "build-training-set" else ()
    result = run(command, *needed, *own)
    assert (result.exit_code, result.output.splitlines()[-1]) == (2, f"Error: {message}")


def test_options_that_go_together(opened: Opened) -> None:
    spine = ("build-training-set", "--spine", "labels", "--features", "v:f")
    for arguments in [
        (*spine, "--explain-plan", "--json"), (*spine, "--output", "a.csv", "--json"), (*spine, "--sql"),
        ("verify", "--sample", "5"), ("verify", "--all", "--json"), ("backfill", "--apply"),
        ("serve", "--log-sample", "1", "--feature-log", "log"),
    ]:  # fmt: skip
        opened(*arguments)


@pytest.mark.parametrize("name", ["materialize", "materialize-incremental"])
def test_names_of_feast(name: str) -> None:
    result = run("--target", "dev", name, "2026-03-01")
    assert result.exit_code == 2
    assert (
        result.output.splitlines()[-1] == f"Error: No such command '{name}', which is Feast's; it is pit-join export."
    )
    assert run("nonsense").output.splitlines()[-1] == "Error: No such command 'nonsense'."


class Declared:
    """A feature store whose view has names that hold signs."""

    def describe_views(self) -> list[Any]:
        names = {"name": "odd: view", "join_keys": ["a,b", "c"], "features": ["x, y", 'half "z"', "plain", "two words"]}
        others = ("entity", "event_timestamp", "created_timestamp", "ttl", "lag", "newest", "windows")
        return [names | {"rows": 0} | dict.fromkeys(others, "")]

    def describe_services(self) -> list[Any]:
        return []

    def describe_on_demand(self) -> list[Any]:
        return []


def test_names_with_commas_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pit_join.feature_store.FeatureStore", lambda **given: Declared())
    out = run("views").output
    assert '"odd: view": "x, y", "half ""z""", plain, two words' in out
    assert '("a,b", c)' in out


# Errors and interrupts -------------------------------------------------------------------------------------------


def test_errors_name_arguments_in_python_and_options_in_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    spine = find_spine(pa.table({"at": [1]}), {"metadata": {"project_name": "shop"}, "nodes": {}}, Path())

    def fail(**given: Any) -> None:
        check_columns(["at"], ("id",), spine)

    with pytest.raises(SpineError) as raised:
        fail()
    assert "Name the time with event_timestamp='column', a key under another name with roles=['view(" in str(
        raised.value
    )
    monkeypatch.setattr("pit_join.feature_store.FeatureStore", fail)
    out = run("views").output
    assert "Name the time with --event-timestamp, a key under another name with --role 'view(key=column)'" in out
    with pytest.raises(SpineError, match="event_timestamp="):
        fail()


def test_two_features_of_one_name(tmp_path: Path) -> None:
    """The advice fits the command line, Python and HTTP."""
    put(open_store(str(tmp_path), create=True), {name: {"id": [1], "n": [1]} for name in ("a", "b")}, keys=("id",))
    says = "both a:n and b:n would be named n; use full feature names (view__feature)"
    out = run("--store", str(tmp_path), "get", "--features", "a:n,b:n", "--entity", "id=1").output
    assert out == f"Error: {says}\n"
    with pytest.raises(RequestError, match=re.escape(says)):
        FeatureStore(online_store=tmp_path).get_online_features(["a:n", "b:n"], [{"id": 1}])


def test_no_message_names_an_option_or_an_argument_alone() -> None:
    """Outside of `cli/`, a text with one of them stands in a call of `option`; the server has only the command."""
    methods = [method for name, method in vars(FeatureStore).items() if name == "__init__" or callable(method)]
    arguments = {name for method in methods for name in inspect.signature(method).parameters if "_" in name}
    package, found = Path(pit_join.__file__).parent, []
    # Declarations and requests of HTTP have names that are those of arguments, too.
    of_both = {*package.glob("http/*"), *package.glob("definitions/*"), package / "feature_store.py"}
    for path in {*package.rglob("*.py")} - {*package.glob("cli/*"), package / "http" / "server.py"}:
        names = "" if path in of_both else rf"|\b({'|'.join(arguments)})\b(?!:)"
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        parts = [each for call in calls if getattr(call.func, "id", "") == "option" for each in call.args]
        documented = [
            node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ]
        allowed = {id(part) for each in (*parts, *documented) for part in ast.walk(each)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        found += [
            (path.name, text.value)
            for text in texts
            if " " in text.value
            and re.search(rf"(?<![\w-])--[a-z]{names}", text.value)
            and id(text) not in allowed
            and "dbt build --full-refresh" not in text.value
        ]
    assert found == []


def test_ctrl_c_within_a_call_of_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the main thread DuckDB makes a RuntimeError of it."""
    path = tmp_path / "w.duckdb"
    duckdb.connect(str(path)).close()

    def interrupted(name: str) -> None:
        raise RuntimeError("Query interrupted")

    def wait(**given: Any) -> None:
        wait_until_free(path, 1, print)

    monkeypatch.setattr("pit_join.warehouse.duckdb_session.duckdb.connect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wait()
    monkeypatch.setattr("pit_join.feature_store.FeatureStore", wait)
    result = run("views")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "\ninterrupted\n")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="another"), interruptible():
        raise RuntimeError("another")
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise KeyboardInterrupt
