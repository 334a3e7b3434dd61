"""From the online store to feature vectors; no dbt, and no DuckDB unless an on-demand feature needs it."""
