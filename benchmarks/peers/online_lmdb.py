"""Bare LMDB look-ups in the very file that pit-join has exported (docs/store-format.md says how its keys are made)."""

import struct
import sys
import zlib
from pathlib import Path

import lmdb
import numpy as np
from online_worker import CANDIDATES, candidates, entities, serve, timed, views_of

data = Path(sys.argv[1])
environment = lmdb.open(sys.argv[2], map_size=1 << 40, max_readers=1024, readonly=True)
names = [view["name"] for view in views_of(data)]
columns = [len(view["features"]) for view in views_of(data)]
ends = np.cumsum(columns).tolist()
matrix = np.empty((CANDIDATES, ends[-1]), dtype=np.float32)


def key(view: str, *numbers: int) -> bytes:
    return struct.pack(">I", zlib.crc32(view.encode())) + b"".join(struct.pack(">BQ", 0x80, n) for n in numbers)


def get_three(keys: tuple[bytes, bytes, bytes]) -> None:
    first, second, third = keys
    with environment.begin() as transaction:
        transaction.get(first)
        transaction.get(second)
        transaction.get(third)


def three(seed: int, count: int, most: int) -> dict:
    asked = [tuple(key(name, number) for name in names) for number in entities(seed, count, most)]
    with environment.begin() as transaction:
        if not all(transaction.get(one) for keys in asked for one in keys):
            raise ValueError("a key is not in the store")
    return timed(get_three, asked)


def keys_of(request: tuple[int, list[int]]) -> list[bytes]:
    user, items = request
    return [key("user", user), *(key("item", item) for item in items), *(key("pair", user, item) for item in items)]


def get_all(keys: list[bytes]) -> None:
    with environment.begin(buffers=True) as transaction:
        for one in keys:
            transaction.get(one)


def assemble(keys: list[bytes]) -> None:
    """The look-ups and the matrix, as simply as NumPy can: all values of a record lie together, as declared."""
    with environment.begin(buffers=True) as transaction:
        records = [transaction.get(one) for one in keys]
        for first, some in ((0, records[:1]), (1, records[1 : CANDIDATES + 1]), (2, records[CANDIDATES + 1 :])):
            start = 24 + -(-columns[first] // 64) * 8
            cells = np.frombuffer(b"".join(some), dtype=np.uint8).reshape(len(some), -1)
            values = cells[:, start : start + 4 * columns[first]].view(np.float32)
            matrix[:, ends[first] - columns[first] : ends[first]] = values


def gets(seed: int, count: int) -> dict:
    return timed(get_all, [keys_of(request) for request in candidates(data, seed, count)])


def by_hand(seed: int, count: int) -> dict:
    return timed(assemble, [keys_of(request) for request in candidates(data, seed, count)])


def digest(seed: int) -> str:
    import hashlib

    assemble(keys_of(candidates(data, seed, 1)[0]))
    return hashlib.sha256(matrix.tobytes()).hexdigest()


serve({"three": three, "gets": gets, "by_hand": by_hand, "digest": digest})
