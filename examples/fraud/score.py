"""Score payments, 200 a second, each within 50 ms, until it is stopped by Ctrl-C; then say how long they took.

python score.py

A line a second counts the features by status. Times are those of the wall clock from a request to its score; all are
counted, also those in which something else had the processor.
"""

import random
import signal
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from pit_join import FeatureStore
from pit_join.serving.reader import OnlineReader

PROJECT = Path(__file__).resolve().parent
# The data end here; a real service leaves `now` out, and asks about payments of the present.
NOW = datetime(2026, 3, 31, 12, tzinfo=timezone.utc)
RATE = 200
DEADLINE = 0.05  # seconds


def payment(chance: random.Random) -> dict[str, Any]:
    """A payment of some card; one card in a hundred is so new that nothing is known of it."""
    card = chance.randrange(303)
    return {
        "card_id": card,
        "account_id": card % 200,
        "amount_cents": chance.randrange(100, 50_000),
        "event_timestamp": NOW,
    }


def score(features: dict[str, list[Any]]) -> float:
    """A model's place: how suspicious a payment is, from 0 to 1."""
    burst = features["card_payments_1h"][0] + features["account_cards_1h"][0]
    return float(1 - np.exp(-0.02 * features["amount_to_mean"][0] * (1 + burst)))


def answer(reader: OnlineReader, asked: dict[str, Any]) -> tuple[float, Counter[str]]:
    """A payment's score, and how many of its features have which status; defaults stand for what cannot be had."""
    found = reader.get_online_features([asked], now=NOW)
    return score(found.to_dict()), Counter(status for (status,) in found.statuses.values())


def main() -> None:
    """Ask, and wait until the next payment is due."""
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    reader = FeatureStore(online_store=PROJECT / "online" / "dev").online_reader("fraud_v1", deadline=DEADLINE)
    chance = random.Random(1)
    answer(reader, payment(chance))  # loads DuckDB, for the on-demand features
    took, counted = [], Counter[str]()
    began = time.perf_counter()
    while not stopped:
        asked = payment(chance)
        start = time.perf_counter()
        _, statuses = answer(reader, asked)
        took.append(1_000 * (time.perf_counter() - start))
        counted += statuses
        if len(took) % RATE == 0:
            print(
                f"{len(took):>6} payments: {', '.join(f'{name} {n:,}' for name, n in counted.most_common())}",
                flush=True,
            )
            counted.clear()
        time.sleep(max(0.0, began + len(took) / RATE - time.perf_counter()))
    late = sum(each > 1_000 * DEADLINE for each in took)
    print(f"{len(took)} payments, {late} over {1_000 * DEADLINE:.0f} ms")
    print(f"p50 {np.percentile(took, 50):.1f} ms, p99 {np.percentile(took, 99):.1f} ms, at most {max(took):.1f} ms")


if __name__ == "__main__":
    main()
