"""pit-join's reader on a store: one feature vector, the same as a batch of one row, and the matrix of candidates."""

import hashlib
import shutil
import sys
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import numpy as np
from online_worker import CANDIDATES, candidates, entities, features_of, serve, timed, wrong_vectors

from pit_join import FeatureStore, OnlineReader
from pit_join.online.opening import open_store
from pit_join.records.store_manifest import Contents

data, url = Path(sys.argv[1]), sys.argv[2]
features = features_of(data)
store = FeatureStore(data, online_store=url)
reader = store.online_reader(features)
matrix = np.empty((CANDIDATES, len(features)), dtype=np.float32)


def vector(seed: int, count: int, most: int) -> dict:
    return timed(lambda number: reader.get({"user_id": number}), entities(seed, count, most))


def plain(seed: int, count: int, most: int) -> dict:
    """The call that people write, made again and again: the store keeps what it prepares."""
    return timed(
        lambda number: store.get_online_features(features, [{"user_id": number}]).to_dict(), entities(seed, count, most)
    )


def copied(seed: int, count: int, most: int, where: str, bound: bool) -> dict:
    """The same features from a copy of the store, in which the views declare `max_staleness` or not."""
    return timed(lambda number: of_copy(where, bound).get({"user_id": number}), entities(seed, count, most))


@cache
def of_copy(where: str, bound: bool) -> OnlineReader:
    copy = open_store(shutil.copytree(url, where, dirs_exist_ok=True))
    contents = Contents.from_json(copy.contents()[1], "the copy")
    limit = 86_400_000_000 if bound else None
    views = {name: replace(view, max_staleness=limit) for name, view in contents.views.items()}
    with copy.writing(1, lambda message: None) as writer:
        told = replace(contents, views=views).to_json()
        writer.replace(told, {}, dict(contents.views), 2, False, lambda done, total, view: None)
    return FeatureStore(data, online_store=where).online_reader(features)


def on_demand(seed: int, count: int, most: int) -> dict:
    """The same features and two that are computed; what a request sends beside its key."""
    return timed(scored().get, scored_rows(seed, count, most))


def on_demand_plain(seed: int, count: int, most: int) -> dict:
    return timed(lambda row: store.get_online_features("scored", [row]).to_dict(), scored_rows(seed, count, most))


def bare_sql(seed: int, count: int, most: int) -> dict:
    """The statement of the same two features, parsed once, executed by DuckDB with the arguments of each row."""
    expressions = scored()._plan.on_demand._expressions
    connection = expressions._connection()
    parsed = connection.extract_statements(expressions._one)[0]
    rows = [[1.5, row["event_timestamp"], row["amount"]] for row in scored_rows(seed, count, most)]
    return timed(lambda values: connection.execute(parsed, values).fetchall(), rows)


@cache
def scored() -> OnlineReader:
    return store.online_reader("scored")


def scored_rows(seed: int, count: int, most: int) -> list[dict]:
    now = datetime.now(timezone.utc)
    return [{"user_id": number, "event_timestamp": now, "amount": 12.5} for number in entities(seed, count, most)]


def row(seed: int, count: int, most: int) -> dict:
    def read(number: int) -> dict:
        return reader.get_online_features([{"user_id": number}]).to_dict()

    return timed(read, entities(seed, count, most))


def read_candidates(request: tuple[int, list[int]]) -> None:
    user, items = request
    reader.get_online_features({"user_id": user, "item_id": items}).to_numpy(out=matrix)


def batch(seed: int, count: int) -> dict:
    return timed(read_candidates, candidates(data, seed, count))


def batch_plain(seed: int, count: int) -> dict:
    """The same by the plain call, with a new matrix each time."""
    views = sorted({feature.split(":")[0] for feature in features}, key=[f.split(":")[0] for f in features].index)

    def read(request: tuple[int, list[int]]) -> np.ndarray:
        user, items = request
        rows = {"user_id": user, "item_id": items}
        return store.get_online_features([f"{view}:*" for view in views], rows).to_numpy()

    return timed(read, candidates(data, seed, count))


def few_of_wide(seed: int, count: int) -> dict:
    """The plain call for 20 features, of a store that holds 2,500."""
    some = [*features[:7], *features[600:607], *features[-6:]]
    rows = [{"user_id": user, "item_id": items[0]} for user, items in candidates(data, seed, count)]
    return timed(lambda row: store.get_online_features(some, [row]).to_dict(), rows)


def few_of_wide_prepared(seed: int, count: int) -> dict:
    rows = [{"user_id": user, "item_id": items[0]} for user, items in candidates(data, seed, count)]
    return timed(store.online_reader([*features[:7], *features[600:607], *features[-6:]]).get, rows)


def wide(seed: int, count: int) -> dict:
    rows = [{"user_id": user, "item_id": items[0]} for user, items in candidates(data, seed, count)]
    return timed(reader.get, rows)


def wrong(seed: int, count: int, most: int) -> int:
    ids = entities(seed, count, most)
    return wrong_vectors(data, ids, [reader.get({"user_id": number}) for number in ids])


def digest(seed: int) -> str:
    read_candidates(candidates(data, seed, 1)[0])
    return hashlib.sha256(matrix.tobytes()).hexdigest()


serve(
    {
        "vector": vector,
        "plain": plain,
        "copied": copied,
        "on_demand": on_demand,
        "on_demand_plain": on_demand_plain,
        "bare_sql": bare_sql,
        "row": row,
        "batch": batch,
        "batch_plain": batch_plain,
        "few_of_wide": few_of_wide,
        "few_of_wide_prepared": few_of_wide_prepared,
        "wide": wide,
        "wrong": wrong,
        "digest": digest,
    }
)
