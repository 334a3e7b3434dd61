"""Write models/_columns.yml: the three feature views, with every column, which dbt wants listed.

python columns.py
"""

import json
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent
TTL = {"user_item": "30 days"}
# A pair that nobody has seen is as alike as chance: in every fifth feature 0, else null.
DEFAULT = {"user_item": 0}


def view(name: str, keys: list[str], prefix: str, number: int) -> dict[str, Any]:
    """A feature view as dbt's YAML has it."""
    settings = {"entity": "_".join(key.removesuffix("_id") for key in keys), "join_keys": keys}
    if name in TTL:
        settings["ttl"] = TTL[name]
    columns: list[dict[str, Any]] = [{"name": key, "data_type": "bigint"} for key in keys]
    columns.append({"name": "event_timestamp", "data_type": "timestamptz"})
    for n in range(number):
        column: dict[str, Any] = {"name": f"{prefix}_{n:04}", "data_type": "float"}
        if name in DEFAULT and n % 5 == 0:
            column["config"] = {"meta": {"pit_join": {"default": DEFAULT[name]}}}
        columns.append(column)
    return {
        "name": name,
        "config": {"event_time": "event_timestamp", "meta": {"pit_join": settings}},
        "columns": columns,
    }


def main() -> None:
    """Take the numbers of features from dbt_project.yml, where the models take them too."""
    numbers = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    views = [
        view("user_profile", ["user_id"], "user", numbers["user_features"]),
        view("item_profile", ["item_id"], "item", numbers["item_features"]),
        view("user_item", ["user_id", "item_id"], "pair", numbers["pair_features"]),
    ]
    # JSON is YAML, and read in a tenth of the time.
    (PROJECT / "models" / "_columns.yml").write_text(json.dumps({"models": views}, indent=1) + "\n")


if __name__ == "__main__":
    main()
