"""Make a training set that leaks: each row has the features of its key's next row, as a join by position may give."""

import sys

import duckdb

reference, output = sys.argv[1:]
connection = duckdb.connect()
columns = [row[0] for row in connection.execute(f"describe from read_parquet('{reference}')").fetchall()]
key = "customer_id" if "customer_id" in columns else "key"
features = [column for column in columns if column not in ("row_id", key, "event_timestamp", "label")]
moved = ", ".join(f'lead("{name}") over following as "{name}"' for name in features)
connection.execute(
    f"copy (select * exclude (file_row_number) replace ({moved})"
    f" from read_parquet('{reference}', file_row_number = true)"
    f" window following as (partition by {key} order by event_timestamp, file_row_number)"
    f" order by file_row_number) to '{output}' (format parquet)"
)
