select
    *,
    row_number() over () as _pit_row,
    cast(extract(epoch from "event_timestamp") * 1000000 as bigint) - 86400000000 as _pit_time
from "warehouse"."main"."login_labels"
