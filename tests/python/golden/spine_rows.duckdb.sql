select
    *,
    row_number() over () as _pit_row,
    epoch_us("event_timestamp") - 86400000000 as _pit_time
from "warehouse"."main"."login_labels"
