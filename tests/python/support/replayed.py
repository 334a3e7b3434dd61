"""A project whose feature views leak in eight ways, and are honest in ten, with a month of generated events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from support.projects import make_project, view

LATE = """
  select
    *,
    "at" + to_minutes(cast(5 + hash(id) % 20 as integer)) as loaded_at,
    "at" + to_minutes(cast(25 + hash(id + 7) % 330 as integer)) as settled_at
  from (
    select
      id,
      hash(id) % 9 as user_id,
      timestamptz '2026-01-01 00:00+00' + to_minutes(cast(id * 61 + hash(id + 3) % 45 as integer)) as "at",
      (hash(id + 1) % 1000) / 10.0 as amount
    from range(700) as ids(id)
  )
"""
SOURCES = """
sources:
  - name: raw
    schema: main
    tables:
      - name: events
        config: {loaded_at_field: loaded_at}
        columns:
          - {name: fee, config: {meta: {pit_join: {known_at: settled_at}}}}
          - {name: settled_at, config: {meta: {pit_join: {known_at: settled_at}}}}
      - name: orders
        config: {meta: {pit_join: {known_at: loaded_at}}}
      - name: customers
        config: {meta: {pit_join: {known_at: joined_at}}}
        columns:
          - {name: plan, config: {meta: {pit_join: {known_at: plan_at}}}}
          - {name: plan_at, config: {meta: {pit_join: {known_at: plan_at}}}}
      - name: countries
snapshots:
  - name: plans
    relation: source('raw', 'customers')
    config: {unique_key: user_id, strategy: timestamp, updated_at: plan_at}
"""
EVENTS = "{{ source('raw', 'events') }}"


@dataclass(frozen=True)
class Planted:
    """A view: its SQL, its settings beside the key, and of a leak the greatest horizon in hours, or None for any."""

    sql: str
    meta: str = ""
    horizon: float | None = None
    unbounded: bool = False
    more: str = ""
    config: str = ""
    event_time: str = "event_timestamp"


def _select(value: str, rest: str = "", at: str = "loaded_at") -> str:
    return f"select user_id, {at} as event_timestamp, id, {value} as value from {EVENTS}{rest}"


LEAKS = {
    "lead": Planted(_select("lead(amount) over (partition by user_id order by loaded_at, id)"), horizon=72),
    "centred": Planted(
        _select(
            "avg(amount) over (order by loaded_at "
            "range between interval 3 hours preceding and interval 3 hours following)"
        ),
        horizon=3,
    ),
    "zscore": Planted(_select("(amount - avg(amount) over ()) / stddev(amount) over ()"), unbounded=True),
    "settled": Planted(_select("fee"), horizon=6),
    "current_state": Planted(
        "select events.user_id, loaded_at as event_timestamp, id, length(plan) as value "
        f"from {EVENTS} as events join {{{{ source('raw', 'customers') }}}} as customers using (user_id)",
        unbounded=True,
    ),
    "day_start": Planted(
        "select user_id, date_trunc('day', loaded_at) as event_timestamp, 0 as id, sum(amount) as value "
        f"from {EVENTS} group by all",
        horizon=24,
    ),
    "newest_version": Planted(
        "select user_id, \"at\" as event_timestamp, id, amount as value from {{ source('raw', 'orders') }} "
        "qualify row_number() over (partition by id order by loaded_at desc) = 1",
        horizon=48.5,
    ),
    "filled_back": Planted(
        _select(
            "first_value(case when hash(id) % 3 = 0 then amount end ignore nulls) over (order by loaded_at, id "
            "rows between current row and unbounded following)"
        ),
        horizon=8,
    ),
}
HONEST = {
    "trailing": Planted(
        _select("avg(amount) over (order by loaded_at range between interval 1 day preceding and current row)")
    ),
    "running": Planted(_select("count(*) over (partition by user_id order by loaded_at, id)")),
    "grown": Planted(
        _select(
            "amount",
            "{% if is_incremental() %} where loaded_at > (select max(event_timestamp) from {{ this }}){% endif %}",
        ),
        config="materialized: incremental, ",
    ),
    "batched": Planted(
        "select user_id, loaded_at as event_timestamp, id, amount as value from {{ source('raw', 'events').render() }}",
        config="materialized: incremental, incremental_strategy: microbatch, begin: 2026-01-01, batch_size: month, ",
    ),
    "from_snapshot": Planted(
        "select user_id, dbt_valid_from as event_timestamp, 0 as id, length(plan) as value from {{ ref('plans') }}"
    ),
    "versions": Planted(
        "select user_id, \"at\" as event_timestamp, loaded_at, id, amount as value from {{ source('raw', 'orders') }}",
        meta="created_timestamp: loaded_at",
        more=", {name: loaded_at, data_type: timestamptz}",
    ),
    "scd": Planted(
        "select events.user_id, loaded_at as event_timestamp, id, length(plan) as value "
        f"from {EVENTS} as events join {{{{ ref('plans') }}}} as plans on events.user_id = plans.user_id "
        "and loaded_at >= dbt_valid_from and (loaded_at < dbt_valid_to or dbt_valid_to is null)"
    ),
    "facts": Planted(
        "select user_id, 0 as id, country as value from {{ source('raw', 'countries') }}",
        meta="static: true",
        event_time="",
    ),
    "day_end": Planted(
        "select user_id, date_trunc('day', loaded_at) + interval 1 day as event_timestamp, 0 as id, "
        f"sum(amount) as value from {EVENTS} group by all"
    ),
    "sessions": Planted(
        "with marked as (select *, coalesce(loaded_at "
        "- lag(loaded_at) over (partition by user_id order by loaded_at, id) "
        f"> interval 6 hours, true) as begins from {EVENTS}), "
        "numbered as (select *, sum(begins::int) over (partition by user_id order by loaded_at, id) as session "
        "from marked) "
        "select user_id, max(loaded_at) + interval 6 hours as event_timestamp, session as id, count(*) as value "
        "from numbered group by user_id, session"
    ),
}


def make_replayed(folder: Path, views: dict[str, Planted]) -> Path:
    """A project with some of the views, and a warehouse with their sources."""
    yaml = {}
    for name, one in views.items():
        times = ", {name: event_timestamp, data_type: timestamptz}" if one.event_time else ""
        columns = f"{{name: user_id, data_type: bigint}}{times}{one.more}, {{name: value, data_type: double}}"
        meta = "entity: user, join_keys: [user_id]" + (f", {one.meta}" if one.meta else "")
        yaml[name] = view(meta, columns, one.event_time, one.config)
    project = make_project(folder, yaml, SOURCES)
    for name, one in views.items():
        (project / "models" / f"{name}.sql").write_text(one.sql)
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create table events as select *, amount / 10 as fee from ({LATE})")
        connection.execute(
            'create table orders as select id, user_id, "at", loaded_at, amount from events union all '
            'select id, user_id, "at", loaded_at + interval 2 day, amount + 1 from events where id % 5 = 0'
        )
        connection.execute(
            "create table customers as select user_id, timestamptz '2026-01-01 00:00+00' as joined_at, 'gold' as plan, "
            "timestamptz '2026-01-20 06:00+00' + to_hours(cast(user_id as integer)) as plan_at "
            "from range(9) as users(user_id)"
        )
        connection.execute(
            "create table countries as select user_id, user_id % 3 as country from range(9) as users(user_id)"
        )
        connection.execute(
            "create table plans as select user_id, 'basic' as plan, joined_at as plan_at, 'a' as dbt_scd_id, "
            "joined_at as dbt_updated_at, joined_at as dbt_valid_from, plan_at as dbt_valid_to from customers "
            "union all "
            "select user_id, plan, plan_at, 'b', plan_at, plan_at, null from customers"
        )
    return project
