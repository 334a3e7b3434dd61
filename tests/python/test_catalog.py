"""What `pit-join views` lists beside views: feature services and on-demand features; and tables that wrap."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

import pytest
from support.dbt import Built
from support.projects import run

from pit_join import FeatureStore

HEADINGS = ["view", "rows", "description"]
LONG = "One row a customer, with what was known of it when the day began."


@pytest.mark.dbt
def test_services_have_the_features_of_their_training_sets(demo: Built) -> None:
    store = FeatureStore(demo.directory)
    described = {each["name"]: each for each in store.describe_services()}
    assert list(described) == ["flight_delay_v1", "flight_delay_v2"]
    for name, service in described.items():
        assert service["features"] == store.get_historical_features("flight_spine", name).features.column_names
    assert described["flight_delay_v1"]["description"].startswith("Will this flight arrive more than 15 minutes late?")
    # Also those that only an argument of an on-demand feature reads.
    assert described["flight_delay_v2"]["views"] == [
        "aircraft_last_leg", "airport_places", "airport_weather", "carrier_landings",
    ]  # fmt: skip


@pytest.mark.dbt
def test_on_demand_features_have_their_arguments_and_services(demo: Built) -> None:
    described = {each["name"]: each for each in FeatureStore(demo.directory).describe_on_demand()}
    assert list(described) == ["headwind", "hour_of_day", "minutes_since"]
    assert described["minutes_since"] == {
        "name": "minutes_since",
        "description": "Minutes from one instant to another, such as since an aircraft has landed.",
        "arguments": {"earlier": "timestamptz", "moment": "timestamptz"},
        "returns": "double",
        "default": None,
        "services": ["flight_delay_v2"],
    }


@pytest.mark.dbt
def test_views_lists_services_and_on_demand_features(demo: Built) -> None:
    store, of_the_demo = FeatureStore(demo.directory), ("--project-dir", str(demo.directory))
    lines = run("views", *of_the_demo).out.splitlines()
    service, on_demand = (next(i for i, line in enumerate(lines) if line.startswith(head)) for head in ("serv", "on-d"))
    assert lines[service - 1] == lines[on_demand - 1] == ""
    assert lines[service].split() == ["service", "features", "description"]
    assert lines[service + 2].split()[:5] == ["flight_delay_v1", "39", "Will", "this", "flight"]
    hour_of_day = lines[on_demand + 3]
    assert hour_of_day.split()[:4] == ["hour_of_day", "moment", "timestamptz", "bigint"]
    assert hour_of_day.endswith("  The hour of the day in New York, 0 to 23.")
    views = json.loads(run("views", "--json", *of_the_demo).out)
    assert views == store.describe_views()
    assert json.loads(run("views", "--json", "--all", *of_the_demo).out) == {
        "views": views, "services": store.describe_services(), "on_demand": store.describe_on_demand(),
    }  # fmt: skip


def test_all_has_no_effect_on_text() -> None:
    found = run("views", "--all")
    assert found.status == 2
    assert "--all has no effect without --json" in found.err


def printed(columns: int, rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table on a terminal that is so wide."""
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    code = f"from pit_join.cli.output import print_table; print_table({HEADINGS!r}, {rows!r}, right=(1,))"
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, check=True, env=environment)
    found = os.read(own, 65_536).decode().splitlines()
    os.close(theirs)
    os.close(own)
    return found


def test_a_table_wraps_between_words_on_a_narrow_terminal() -> None:
    rows = [["customers", "1,000", LONG], ["a_view_of_a_long_name", "5", "short"]]
    assert printed(60, rows) == [
        "view                    rows  description",
        "---------------------  -----  ------------------------------",
        "customers              1,000  One row a customer, with what",
        "                              was known of it when the day",
        "                              began.",
        "a_view_of_a_long_name      5  short",
    ]
    # No word is broken, even where the table is then wider than the terminal.
    words = {word for line in printed(10, rows) for word in line.split()}
    assert {*LONG.split(), "a_view_of_a_long_name", "1,000"} <= words
    assert printed(200, rows)[2] == f"customers              1,000  {LONG}"


def test_a_table_is_one_line_a_row_where_there_is_no_terminal() -> None:
    code = f"from pit_join.cli.output import print_table; print_table({HEADINGS!r}, [['a', '1', {LONG * 9!r}]])"
    environment = os.environ | {"COLUMNS": "40"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.splitlines()[2] == f"a     1     {LONG * 9}"
