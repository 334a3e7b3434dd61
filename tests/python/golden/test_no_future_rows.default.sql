select *
from "warehouse"."main"."user_activity"
where
    cast(extract(epoch from "event_timestamp") * 1000000 as bigint) > cast(extract(epoch from cast('2026-04-01 02:00:00+00' as timestamp with time zone)) * 1000000 as bigint)
    or cast(extract(epoch from "loaded_at") * 1000000 as bigint) > cast(extract(epoch from cast('2026-04-01 02:00:00+00' as timestamp with time zone)) * 1000000 as bigint)
