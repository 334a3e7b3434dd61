select
    *,
    struct(xxhash64(struct(*)), row_number() over (partition by xxhash64(struct(*)) order by struct(*))) as _pit_row,
    case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end - 86400000000 /* gap: 1 day */ as _pit_time
from "warehouse"."main"."login_labels"
