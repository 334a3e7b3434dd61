"""The sources of the replay scenario, which say when their rows were known, and the feature views that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

DAY_US = 86_400 * 1_000_000
START_US = 1_704_067_200 * 1_000_000  # 2024-01-01 00:00 UTC

SOURCES = """\
sources:
  - name: landing
    schema: landing
    tables:
      - name: orders
        config: {loaded_at_field: loaded_at}
      - name: plans
        config: {loaded_at_field: valid_from}
"""


@dataclass(frozen=True)
class Landed:
    """The parameters of the sources at scale 1; ``scale`` shrinks rows and keys alike."""

    about: str
    orders: int
    plans: int
    keys: int
    days: int

    def scaled(self, scale: float) -> Landed:
        def shrink(n: int) -> int:
            return max(int(n * scale), 10)

        return replace(self, orders=shrink(self.orders), plans=shrink(self.plans), keys=shrink(self.keys))

    def tables(self) -> dict[str, pa.Table]:
        """Orders, which land up to an hour after they were placed, and the plans that customers had."""
        rng = np.random.default_rng(20240103)
        placed = np.sort(START_US + rng.integers(0, self.days * DAY_US, self.orders))
        from_ = np.sort(START_US + rng.integers(0, self.days * DAY_US, self.plans))
        return {
            "orders": pa.table(
                {
                    "order_id": np.arange(self.orders),
                    "customer_id": rng.integers(0, self.keys, self.orders),
                    "placed_at": _timestamps(placed),
                    "loaded_at": _timestamps(placed + rng.integers(0, DAY_US // 24, self.orders)),
                    "amount": np.round(rng.random(self.orders) * 1000, 2),
                }
            ),
            "plans": pa.table(
                {
                    "customer_id": rng.integers(0, self.keys, self.plans),
                    "valid_from": _timestamps(from_),
                    "plan": rng.integers(0, 5, self.plans),
                }
            ),
        }


def _timestamps(us: np.ndarray) -> pa.Array:
    return pa.array(us, type=pa.timestamp("us", tz="UTC"))


_ORDERS = "from {{ source('landing', 'orders') }}"
_KEYS = {"customer_id": "bigint", "placed_at": "timestamptz", "loaded_at": "timestamptz"}


def _view(name: str, column: str, kind: str, sql: str) -> dict:
    """A view with one feature, which is computed at each order of a customer."""
    return {
        "name": name,
        "columns": {**_KEYS, column: kind},
        "event_time": "placed_at",
        "sql": sql,
        "meta": {"entity": "customer", "join_keys": ["customer_id"], "created_timestamp": "loaded_at"},
    }


_BEFORE = "over (partition by customer_id order by loaded_at"
VIEWS = [
    _view("last_order", "amount", "double", f"select customer_id, placed_at, loaded_at, amount {_ORDERS}"),
    _view(
        "orders_so_far",
        "number",
        "bigint",
        f"select customer_id, placed_at, loaded_at, count(*) {_BEFORE} rows unbounded preceding) as number {_ORDERS}",
    ),
    _view(
        "spent",
        "spent_30d",
        "double",
        f"select customer_id, placed_at, loaded_at, sum(amount) {_BEFORE}\n"
        f"    range between interval 30 days preceding and current row) as spent_30d\n{_ORDERS}",
    ),
    _view(
        "gaps",
        "seconds",
        "double",
        "select customer_id, placed_at, loaded_at,\n"
        f"    epoch(loaded_at - lag(loaded_at) {_BEFORE})) as seconds\n{_ORDERS}",
    ),
    _view(
        "plan_at_order",
        "plan",
        "bigint",
        "select orders.customer_id, orders.placed_at, orders.loaded_at, plans.plan\n"
        "from {{ source('landing', 'orders') }} as orders\n"
        "asof left join {{ source('landing', 'plans') }} as plans\n"
        "    on orders.customer_id = plans.customer_id and orders.loaded_at >= plans.valid_from",
    ),
    _view(  # it leaks
        "next_amount",
        "amount_after",
        "double",
        f"select customer_id, placed_at, loaded_at, lead(amount) {_BEFORE}) as amount_after {_ORDERS}",
    ),
]
LANDED = {"R": Landed("sources of six views for a replay", 2_000_000, 300_000, 100_000, 365)}
