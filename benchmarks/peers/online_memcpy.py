"""Copies of a matrix of candidates, 500 x 2,500 float32, from memory that is in no cache."""

from pathlib import Path

import numpy as np
from online_worker import CANDIDATES, serve, timed

WIDTH = 2_500
L3 = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
cache = int(L3.read_text().strip().removesuffix("K")) * 1024 if L3.exists() else 32 << 20
copies = 12 * cache // (CANDIDATES * WIDTH * 4) + 1
sources = np.random.default_rng(1).random((copies, CANDIDATES, WIDTH), dtype=np.float32)
warm = np.ones((CANDIDATES, WIDTH), dtype=np.float32)
cold = np.ones_like(sources)
turn = 0


def numbers(count: int) -> list[int]:
    global turn
    turn += count
    return [i % copies for i in range(turn - count, turn)]


def to_warm(count: int, **_: int) -> dict:
    return timed(lambda i: np.copyto(warm, sources[i]), numbers(count))


def to_cold(count: int, **_: int) -> dict:
    return timed(lambda i: np.copyto(cold[i], sources[i]), numbers(count))


serve({"warm": to_warm, "cold": to_cold})
