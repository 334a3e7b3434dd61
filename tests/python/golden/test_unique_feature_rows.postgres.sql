select
    "user_id",
    "event_timestamp",
    "loaded_at",
    count(*) as rows_found
from "warehouse"."main"."user_activity"
where "user_id" is not null and "event_timestamp" is not null and "loaded_at" is not null
group by "user_id", "event_timestamp", "loaded_at"
having count(*) > 1
