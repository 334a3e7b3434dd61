"""Ask for one reader's 500 candidates as one matrix of float32, and say what that took.

python read.py USER_ID [MATRIX.npy]
"""

import sys
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from pit_join import FeatureStore

STORE = Path(__file__).resolve().parent / "online" / "dev"
# The data end here; a real service leaves `now` out, and ages are judged by the clock.
NOW = datetime(2026, 3, 10, tzinfo=timezone.utc)
CANDIDATES = list(range(90, 590))
TIMES = 50


def main() -> None:
    """Prepare a reader and a matrix once; each request fills the matrix anew."""
    user, *file = sys.argv[1:]
    reader = FeatureStore(online_store=str(STORE)).online_reader("news_feed_v1")
    matrix = np.empty((len(CANDIDATES), len(reader.names)), np.float32)
    asked = {"user_id": int(user), "item_id": CANDIDATES}

    took = []
    for _ in range(TIMES):
        start = time.perf_counter()
        found = reader.get_online_features(asked, now=NOW)
        found.to_numpy(out=matrix)
        took.append(1_000 * (time.perf_counter() - start))

    if file:
        np.save(file[0], matrix)
    print(f"{matrix.shape[0]} candidates x {matrix.shape[1]:,} features, of which {np.isnan(matrix).sum():,} are NaN")
    for status, number in Counter(status for column in found.statuses.values() for status in column).most_common():
        print(f"{status:16} {number:>7,}")
    print(f"{np.median(took):.1f} ms in the middle, {max(took):.1f} ms at most, of {TIMES} requests")


if __name__ == "__main__":
    main()
