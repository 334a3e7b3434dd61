select *
from "warehouse"."main"."user_activity"
where
    cast(extract(epoch from case when isfinite("event_timestamp") then "event_timestamp" end) * 1000000 as bigint) > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
    or cast(extract(epoch from case when isfinite("loaded_at") then "loaded_at" end) * 1000000 as bigint) > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
