select
    whole.*,
    whole as _pit_whole,
    row_number() over () as _pit_row,
    cast(extract(epoch from case when isfinite("event_timestamp") then "event_timestamp" end) * 1000000 as bigint) - 86400000000 /* gap: 1 day */ as _pit_time
from (select * from "warehouse"."main"."login_labels") as whole
