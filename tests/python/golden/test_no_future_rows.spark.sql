select *
from "warehouse"."main"."user_activity"
where
    unix_micros(cast(`event_timestamp` as timestamp)) > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
    or unix_micros(cast(`loaded_at` as timestamp)) > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
