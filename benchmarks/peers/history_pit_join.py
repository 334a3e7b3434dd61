"""pit-join's history of a window view, as a model of it would be built: the macro, rendered and run, to Parquet.

The view declares the features that are asked for, and no others.
"""

import sys
from pathlib import Path

import duckdb

from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Renderer

data, output, features = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
project = Project(data)
manifest = project.manifest()
for settings in (node["config"]["meta"].get("pit_join") for node in manifest["nodes"].values()):
    if settings:
        settings["aggregations"] = [each for each in settings["aggregations"] if f"{each['name']}_30d" in features]
renderer = Renderer(manifest, project.dispatch_order, project.cache)
query = renderer.call("window_history", "events", grid="1 day")

connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute("set TimeZone = 'UTC'")
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
