select *
from "warehouse"."main"."user_activity"
where
    epoch_us("event_timestamp") > epoch_us(cast('2026-04-01 02:00:00+00' as timestamp with time zone))
    or epoch_us("loaded_at") > epoch_us(cast('2026-04-01 02:00:00+00' as timestamp with time zone))
