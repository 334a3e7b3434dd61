"""The least that an export can be: the newest row of each key in DuckDB, and bare puts of values of the same length.

Arguments: the data, an empty folder, the instant, the length of a value. The queries are of the same shape as those
that pit-join renders; nothing is compared, encoded or checked.
"""

import struct
import sys
import zlib
from pathlib import Path

import duckdb
import lmdb
import numpy as np

data, folder, instant, length = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
ORDERED = """
with known as (
    select *, lead(customer_id) over () as following from view_1 where event_timestamp <= cast($1 as timestamptz)
)
select * exclude (following) from known where customer_id is distinct from following
"""
GENERAL = """
with ranked as (
    select rowid as number, rank() over (partition by customer_id order by event_timestamp desc, loaded_at desc) as rank
    from view_1
    where greatest(event_timestamp, loaded_at) <= cast($1 as timestamptz)
)
select * from view_1 where rowid in (select number from ranked where rank = 1) order by customer_id
"""

with duckdb.connect(str(data / "warehouse.duckdb"), read_only=True) as warehouse:
    warehouse.execute("set TimeZone = 'UTC'")
    late = "loaded_at" in [row[0] for row in warehouse.execute("describe view_1").fetchall()]
    table = warehouse.execute(GENERAL if late else ORDERED, [instant]).to_arrow_table()

cells = np.empty((len(table), 13), dtype=np.uint8)
cells[:, :5] = np.frombuffer(struct.pack(">IB", zlib.crc32(b"view_1"), 0x80), dtype=np.uint8)
cells[:, 5:] = table["customer_id"].to_numpy().astype(">i8").view(np.uint8).reshape(-1, 8)
content, value = cells.tobytes(), bytes(length)
with lmdb.open(folder, map_size=1 << 40) as environment, environment.begin(write=True) as transaction:
    keys = (content[start : start + 13] for start in range(0, len(content), 13))
    transaction.cursor().putmulti(((key, value) for key in keys), append=True)
print(len(table))
