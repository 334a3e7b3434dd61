select *
from "warehouse"."main"."user_activity"
where
    case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
    or case when typeof("loaded_at") = 'TIMESTAMPTZ_NS' then epoch_ns("loaded_at") // 1000 + (epoch_ns("loaded_at") % 1000 > 0)::int else epoch_us(cast("loaded_at" as timestamptz)) end > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
