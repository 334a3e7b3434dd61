"""The command line's own part: global options before and after the command, and what `--help` says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pit_join.cli.main import main
from pit_join.errors import PitJoinError

# What each command needs to come as far as its store.
NEEDED = {
    "backfill": ("--plan",),
    "build-training-set": ("--spine", "labels", "--features", "v:f", "--output", "train.parquet"),
    "export": (),
    "get": ("--entity", "user_id=42", "--service", "churn_v1"),
    "monitor": ("--log", "feature_log"),
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
