-- DuckDB runs a window without an order over the rows as they come, in one thread: as they are stored or were sorted.
select
    *,
    row_number() over () as _pit_row,
    cast(extract(epoch from "event_timestamp") * 1000000 as bigint) - 86400000000 /* gap: 1 day */ as _pit_time
from "warehouse"."main"."login_labels"
