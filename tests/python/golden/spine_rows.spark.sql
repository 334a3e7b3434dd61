select
    *,
    struct(_pit_hash, row_number() over (partition by _pit_hash order by _pit_whole)) as _pit_row
from (
    select
        *,
        struct(*) as _pit_whole,
        xxhash64(*) as _pit_hash,
        case typeof(`event_timestamp`) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 when 'timestamp_ntz' then timestampdiff(microsecond, timestamp_ntz '1970-01-01', cast(`event_timestamp` as timestamp_ntz)) else unix_micros(cast(`event_timestamp` as timestamp)) end - 86400000000 /* gap: 1 day */ as _pit_time
    from "warehouse"."main"."login_labels"
) as hashed
