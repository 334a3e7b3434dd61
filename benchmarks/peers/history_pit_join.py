"""pit-join's history of a window view, as a model of it would be built: the macro, rendered and run, to Parquet."""

import sys
from pathlib import Path

import duckdb

from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Renderer

data, output = Path(sys.argv[1]), sys.argv[2]
project = Project(data)
renderer = Renderer(project.manifest(), project.dispatch_order, project.cache)
query = renderer.call("window_history", "events", grid="1 day")

connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute("set TimeZone = 'UTC'")
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
