"""Measure nearest neighbours beside a product with all embeddings in NumPy, and the exports that index them.

Example: ``python benchmarks/nearest_run.py --scale 0.02``. It prints a table; full size is 1M embeddings of 64 floats.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from make_data import install_macros
from online_cases import export_command
from online_measure import markdown, watched

from pit_join import FeatureStore

ROWS, DIMENSIONS, CENTRES, K = 1_000_000, 64, 1_000, 10
MODEL = """
models:
  - name: items
    config:
      event_time: event_timestamp
      meta: {pit_join: {entity: item, join_keys: [item_id]}}
    columns:
      - {name: item_id, data_type: bigint}
      - {name: event_timestamp, data_type: timestamptz}
      - {name: embedding, data_type: "float[]", config: {meta: {pit_join: {nearest: cosine}}}}
"""
PROFILE = "bench: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb}}}\n"


def make_project(where: Path, embeddings: np.ndarray) -> None:
    """A dbt project whose one table is written here."""
    for name in ("models", "profiles"):
        (where / name).mkdir()
    (where / "dbt_project.yml").write_text("name: bench\nprofile: bench\nmodels: {+materialized: table}\n")
    (where / "profiles" / "profiles.yml").write_text(PROFILE)
    (where / "models" / "items.sql").write_text("select 1 as one")
    (where / "models" / "items.yml").write_text(MODEL)
    install_macros(where)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
    rows = pa.table({"item_id": np.arange(len(embeddings)), "embedding": lists})
    with duckdb.connect(str(where / "warehouse.duckdb")) as connection:
        connection.register("rows", rows)
        connection.execute(
            "create table items as select item_id, timestamptz '2026-01-01 00:00:00+00' as event_timestamp, "
            "embedding::float[] as embedding from rows order by item_id"
        )


def exports(where: Path) -> list[list[str]]:
    """A first export, one that changes nothing, and one of a hundredth that changed."""
    lines = []
    change = "update items set embedding = list_transform(embedding, lambda x: x * 1.5 + 0.01) where item_id % 100 = 0"
    for what, statement in (("first export", ""), ("nothing changed", ""), ("1 % changed", change)):
        if statement:
            with duckdb.connect(str(where / "warehouse.duckdb")) as connection:
                connection.execute(statement)
        done = watched(export_command(where, where / "online"))
        if done.error:
            sys.exit(f"pit-join export: {done.error}")
        memory = f"{done.private / 2**20:,.0f} MB, and {done.mapped / 2**20:,.0f} MB of mapped files"
        lines.append([what, f"{done.wall:.1f} s", memory])
    return lines


def searches(where: Path, queries: np.ndarray) -> list[list[str]]:
    """p50 and p99 of both, in turns, and how many of the true neighbours ours finds."""
    store = FeatureStore(online_store=where / "online")
    with duckdb.connect(str(where / "warehouse.duckdb"), read_only=True) as connection:
        table = connection.sql("select embedding from items order by item_id").to_arrow_table()
    column = table["embedding"].combine_chunks()
    matrix = np.asarray(column.flatten()).reshape(len(column), -1)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    started = time.perf_counter()
    store.nearest("items", "embedding", queries[0], K)
    opened = time.perf_counter() - started
    ours, plain, hits = [], [], 0
    for query in queries:
        start = time.perf_counter()
        found = store.nearest("items", "embedding", query, K)
        middle = time.perf_counter()
        products = unit @ query
        near = np.argpartition(products, -K)[-K:]
        right = near[np.argsort(-products[near])]
        plain.append(time.perf_counter() - middle)
        ours.append(middle - start)
        hits += len({*right.tolist()} & {one.keys["item_id"] for one in found})
    lines = []
    for name, times in (("FeatureStore.nearest", ours), ("NumPy, all compared", plain)):
        p50, p99 = np.percentile(times, [50, 99]) * 1e3
        lines.append([name, f"{p50:.2f} ms", f"{p99:.2f} ms"])
    recall = hits / (K * len(queries))
    return [*lines, [f"recall@{K}", f"{recall:.3f}", ""], ["opening the index", f"{opened * 1e3:.0f} ms", ""]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size")
    parser.add_argument("--queries", type=int, default=500)
    arguments = parser.parse_args()
    rows, drawn = max(1000, int(ROWS * arguments.scale)), np.random.default_rng(7)
    centres = drawn.normal(size=(CENTRES, DIMENSIONS)).astype(np.float32)

    def sample(count: int) -> np.ndarray:
        noise = drawn.normal(scale=0.5, size=(count, DIMENSIONS)).astype(np.float32)
        return centres[drawn.integers(0, CENTRES, count)] + noise

    with tempfile.TemporaryDirectory(prefix="nearest-") as name:
        where = Path(name)
        make_project(where, sample(rows))
        print(f"{rows:,} embeddings of {DIMENSIONS} floats in {CENTRES:,} clusters, cosine, k = {K}\n")
        print(markdown([["export", "time", "memory at most"], *exports(where)]))
        print()
        print(markdown([["search", "p50", "p99"], *searches(where, sample(arguments.queries))]))


if __name__ == "__main__":
    main()
