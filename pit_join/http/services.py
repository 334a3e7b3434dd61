"""The feature services of a store as `GET /feature-services` lists them."""

from __future__ import annotations

from typing import Any

from pit_join.errors import RequestError
from pit_join.records.store_manifest import Contents

__all__ = ["services_as_json"]


def services_as_json(contents: Contents) -> dict[str, Any]:
    """Return the feature services of a store with the names and types of their features and keys."""
    found = []
    for name, service in contents.services.items():
        about: dict[str, Any] = {"name": name, "full_feature_names": service.full_feature_names}
        try:
            roles, names, needed = contents.resolve(service.requests, service.full_feature_names)
        except RequestError as error:  # a view of it is not exported
            found.append({**about, "problem": str(error)})
            continue
        features = {
            name: {"name": name, "feature": "on_demand", "type": returns} for name, returns in needed.returns.items()
        }
        keys: dict[str, str] = {}
        for role in roles:
            types = {column.name: column.type for column in role.view.layout.fields}
            for column, feature in zip(role.features, role.names, strict=True):
                about_feature = {"name": feature, "feature": f"{role.view.name}:{column}", "type": types[column]}
                features[feature] = about_feature
        for role in (*roles, *needed.roles):
            keys |= {role.key_names[key]: kind for key, kind in role.view.keys.items()}
        about["features"] = [features[feature] for feature in names]
        about["keys"] = [{"name": key, "type": kind} for key, kind in keys.items()]
        fields = {field: " and ".join(dict.fromkeys(types)) for field, types in needed.fields.items()}
        about["request_fields"] = [{"name": field, "type": kind} for field, kind in fields.items()]
        found.append(about)
    return {"feature_services": found}
