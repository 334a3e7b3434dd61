"""What the Feast peer imports, and nothing else: how much of its time is start-up."""

import os

os.environ["FEAST_USAGE"] = "False"

import ibis
import pyarrow.parquet  # noqa: F401  imported for its time only
from feast import FeatureStore  # noqa: F401  the same
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore  # noqa: F401  the same

ibis.duckdb.connect  # noqa: B018  loads the back end
