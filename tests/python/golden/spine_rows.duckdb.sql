-- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
select
    *,
    row_number() over () as _pit_row,
    epoch_us("event_timestamp") - 86400000000 /* gap: 1 day */ as _pit_time
from "warehouse"."main"."login_labels"
