"""redis-py by hand: a look-up of three fields of a hash in pit-join's own store, and packed vectors by MGET."""

import hashlib
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import redis
from online_worker import CANDIDATES, candidates, serve, timed, views_of

data, client = Path(sys.argv[1]), redis.Redis(port=int(sys.argv[2]))
columns = [len(view["features"]) for view in views_of(data)]
ends = np.cumsum(columns).tolist()
matrix = np.empty((CANDIDATES, ends[-1]), dtype=np.float32)
known: list[tuple[bytes, list[bytes]]] = []


def load() -> None:
    """Write every row of every view as one value: its float32 features, packed."""
    for view in views_of(data):
        for batch in pq.ParquetFile(data / "raw" / f"{view['name']}.parquet").iter_batches(10_000):
            packed = np.column_stack([batch[name].to_numpy() for name in view["features"]])
            keys = zip(*(batch[key].to_pylist() for key in view["meta"]["join_keys"]), strict=True)
            named = [f"{view['name']}:{':'.join(map(str, key))}" for key in keys]
            client.mset({name: row.tobytes() for name, row in zip(named, packed, strict=True)})


def assemble(request: tuple[int, list[int]]) -> None:
    user, items = request
    names = [f"user:{user}", *(f"item:{item}" for item in items), *(f"pair:{user}:{item}" for item in items)]
    found = client.mget(names)
    for part, some in enumerate((found[:1], found[1 : CANDIDATES + 1], found[CANDIDATES + 1 :])):
        values = np.frombuffer(b"".join(some), dtype=np.float32).reshape(len(some), -1)
        matrix[:, ends[part] - columns[part] : ends[part]] = values


def mget(seed: int, count: int) -> dict:
    return timed(assemble, candidates(data, seed, count))


def hmget(seed: int, count: int, **_: int) -> dict:
    """One bare round trip that gets the records of one entity, in the hash where pit-join has put them."""
    rng = random.Random(seed)
    if not known:
        names = list(client.scan_iter("pit_join:{user:*}", count=10_000))
        for name in rng.sample(names, min(200, len(names))):
            fields = [field for field in client.hkeys(name) if b"\0" in field]
            of_key: dict[bytes, list[bytes]] = {}
            for field in fields:
                of_key.setdefault(field.split(b"\0", 1)[1], []).append(field)
            known.extend((name, some) for some in of_key.values() if len(some) == len(columns))
    return timed(lambda asked: client.hmget(*asked), rng.choices(known, k=count))


def ping(count: int, **_: int) -> dict:
    return timed(lambda _: client.ping(), range(count))


def digest(seed: int) -> str:
    assemble(candidates(data, seed, 1)[0])
    return hashlib.sha256(matrix.tobytes()).hexdigest()


serve({"load": load, "mget": mget, "hmget": hmget, "ping": ping, "digest": digest})
