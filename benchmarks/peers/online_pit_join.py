"""pit-join's reader on a store: one feature vector, the same as a batch of one row, and the matrix of candidates."""

import hashlib
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from online_worker import CANDIDATES, candidates, entities, features_of, serve, timed, wrong_vectors

from pit_join import FeatureStore

data, url = Path(sys.argv[1]), sys.argv[2]
features = features_of(data)
store = FeatureStore(data, online_store=url)
reader = store.online_reader(features)
matrix = np.empty((CANDIDATES, len(features)), dtype=np.float32)


def vector(seed: int, count: int, most: int) -> dict:
    return timed(lambda number: reader.get({"user_id": number}), entities(seed, count, most))


def on_demand(seed: int, count: int, most: int) -> dict:
    """The same features and two that are computed; what a request sends beside its key."""
    scored = store.online_reader("scored")
    now = datetime.now(timezone.utc)
    rows = [{"user_id": number, "event_timestamp": now, "amount": 12.5} for number in entities(seed, count, most)]
    return timed(scored.get, rows)


def row(seed: int, count: int, most: int) -> dict:
    def read(number: int) -> dict:
        return reader.get_online_features([{"user_id": number}]).to_dict()

    return timed(read, entities(seed, count, most))


def read_candidates(request: tuple[int, list[int]]) -> None:
    user, items = request
    reader.get_online_features({"user_id": user, "item_id": items}).to_numpy(out=matrix)


def batch(seed: int, count: int) -> dict:
    return timed(read_candidates, candidates(data, seed, count))


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
        "on_demand": on_demand,
        "row": row,
        "batch": batch,
        "wide": wide,
        "wrong": wrong,
        "digest": digest,
    }
)
