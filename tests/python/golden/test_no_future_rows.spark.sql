select *
from "warehouse"."main"."user_activity"
where
    case typeof(`event_timestamp`) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 when 'timestamp_ntz' then timestampdiff(microsecond, timestamp_ntz '1970-01-01', cast(`event_timestamp` as timestamp_ntz)) else unix_micros(cast(`event_timestamp` as timestamp)) end > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
    or case typeof(`loaded_at`) when 'date' then unix_date(cast(`loaded_at` as date)) * 86400000000 when 'timestamp_ntz' then timestampdiff(microsecond, timestamp_ntz '1970-01-01', cast(`loaded_at` as timestamp_ntz)) else unix_micros(cast(`loaded_at` as timestamp)) end > 1775008800000000 /* 2026-04-01 02:00:00 UTC */
