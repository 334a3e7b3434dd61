"""The description of the HTTP server in OpenAPI's form, and a page that shows it and loads nothing."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pit_join.http.answers import ARROW, FLOATS, JSON
from pit_join.statuses import ONLINE, STATUSES

__all__ = ["document", "page"]

_REQUEST = {
    "type": "object",
    "properties": {
        "entities": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {}},
            "description": "For each key as many values as there are rows; null is a null key. Without any, one row of "
            "features that need no keys.",
        },
        "feature_service": {"type": ["string", "null"], "description": "A name; it takes precedence over `features`."},
        "features": {"type": "array", "items": {"type": "string"}, "description": "References view:feature or view:*."},
        "full_feature_names": {"type": "boolean", "default": False, "description": "Name all view__feature."},
    },
    "example": {"features": ["user_activity:login_count_30d"], "entities": {"user_id": ["007", "112"]}},
}
_ANSWER = {
    "type": "object",
    "required": ["metadata", "results"],
    "properties": {
        "metadata": {
            "type": "object",
            "required": ["feature_names"],
            "properties": {
                "feature_names": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "The keys, then the features in the order asked for.",
                }
            },
        },
        "results": {
            "type": "array",
            "description": "For each name of the metadata one column, with an item for each row.",
            "items": {
                "type": "object",
                "required": ["values", "statuses", "event_timestamps"],
                "properties": {
                    "values": {"type": "array", "items": {}},
                    "statuses": {
                        "type": "array",
                        "items": {"enum": list(ONLINE)},
                        "description": "; ".join(f"{name}: {STATUSES[name].meaning}" for name in ONLINE),
                    },
                    "event_timestamps": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}
_NEAREST_REQUEST = {
    "type": "object",
    "required": ["view", "feature", "vector"],
    "properties": {
        "view": {"type": "string", "description": "The name of a feature view."},
        "feature": {"type": "string", "description": "A feature of it that declares `nearest`."},
        "vector": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 1,
            "description": "As many numbers as the embeddings have.",
        },
        "k": {"type": "integer", "minimum": 1, "default": 10, "description": "How many neighbours are wanted."},
    },
    "example": {"view": "items", "feature": "embedding", "vector": [0.6, 0.8], "k": 10},
}
_NEAREST_ANSWER = {
    "type": "object",
    "required": ["neighbours"],
    "properties": {
        "neighbours": {
            "type": "array",
            "description": "Nearest first; those of one distance by key.",
            "items": {
                "type": "object",
                "required": ["keys", "distance", "event_timestamp"],
                "properties": {
                    "keys": {"type": "object", "description": "The join keys by name."},
                    "distance": {
                        "type": "number",
                        "description": "1 - cos, the Euclidean distance, or the negated inner product.",
                    },
                    "event_timestamp": {"type": ["string", "null"]},
                },
            },
        }
    },
}
_TYPED = {"type": "object", "required": ["name", "type"], "properties": {"name": {"type": "string"}, "type": {}}}
_SERVICES = {
    "type": "object",
    "required": ["feature_services"],
    "properties": {
        "feature_services": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "full_feature_names"],
                "properties": {
                    "name": {"type": "string"},
                    "full_feature_names": {"type": "boolean"},
                    "features": {"type": "array", "items": _TYPED},
                    "keys": {"type": "array", "items": _TYPED},
                    "request_fields": {"type": "array", "items": _TYPED},
                    "problem": {"type": "string", "description": "Why it cannot be asked for."},
                },
            },
        }
    },
}
_STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
_ERROR = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
_TEXT = {"type": "string"}
_PROBLEMS = {
    401: "The API key is missing or wrong.",
    406: "None of the forms in Accept is known.",
    413: "The body is too large.",
    415: "The content type of the body is not JSON.",
    422: "The body cannot be read, its keys do not fit, or the store lacks what it asks for.",
    503: "The online store cannot be used.",
}


def document(with_key: bool) -> dict[str, Any]:
    """Return the description; `with_key` is whether the server requires its API key."""
    forms = {
        JSON: {"schema": _ANSWER},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
        FLOATS: {"schema": {"type": "string", "format": "binary"}},
    }
    reads = _operation("Feature vectors of some entities", forms, (406, 413, 415, 422, 503), with_key)
    reads["requestBody"] = {"required": True, "content": {JSON: {"schema": _REQUEST}}}
    near = _operation(
        "The entities nearest to a vector", {JSON: {"schema": _NEAREST_ANSWER}}, (413, 415, 422, 503), with_key
    )
    near["requestBody"] = {"required": True, "content": {JSON: {"schema": _NEAREST_REQUEST}}}
    services = _operation("The feature services and their types", {JSON: {"schema": _SERVICES}}, (503,), with_key)
    shown: dict[str, Any] = {
        "/get-online-features": {"post": reads},
        "/nearest": {"post": near},
        "/feature-services": {"get": services},
        "/health": {"get": _operation("Whether the process lives", {JSON: {"schema": _STATUS}}, (), False)},
        "/ready": {"get": _operation("Whether features can be read", {JSON: {"schema": _STATUS}}, (503,), False)},
        "/metrics": {"get": _operation("Metrics for Prometheus", {"text/plain": {"schema": _TEXT}}, (), with_key)},
        "/openapi.json": {"get": _operation("This description", {JSON: {"schema": {}}}, (), with_key)},
        "/": {"get": _operation("This description as a page", {"text/html": {"schema": _TEXT}}, (), with_key)},
    }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "pit-join", "version": version("pit-join")},
        "paths": shown,
    }
    if with_key:
        schemes = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        described["components"] = {"securitySchemes": schemes}
    return described


def _operation(summary: str, content: Mapping[str, Any], problems: tuple[int, ...], with_key: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "As asked for.", "content": dict(content)}}
    for status in (401, *problems) if with_key else problems:
        responses[str(status)] = {"description": _PROBLEMS[status], "content": {JSON: {"schema": _ERROR}}}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if with_key:
        operation["security"] = [{"bearer": []}, {"header": []}]
    return operation


def page(described: Mapping[str, Any]) -> str:
    """Return the description as HTML, without scripts, fonts or anything from another host."""
    parts = []
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>")
            parts.append(f"<p>{html.escape(operation['summary'])}</p>")
            if body := operation.get("requestBody"):
                parts.append(f"<h3>Body</h3><pre>{_shown(body['content'][JSON]['schema'])}</pre>")
            rows = "".join(
                f"<tr><td>{status}</td><td>{html.escape(', '.join(about['content']))}</td>"
                f"<td>{html.escape(about['description'])}</td></tr>"
                for status, about in operation["responses"].items()
            )
            parts.append(f"<table>{rows}</table>")
            schema = operation["responses"]["200"]["content"].get(JSON, {}).get("schema")
            if schema:
                parts.append(f"<details><summary>Schema of the answer</summary><pre>{_shown(schema)}</pre></details>")
    style = "body{font:16px sans-serif;max-width:60em;margin:2em auto}td{padding:.2em 1em .2em 0;vertical-align:top}"
    info = described["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{info['title']}</title><style>{style}</style>"
        f"<h1>{info['title']} {html.escape(info['version'])}</h1>"
        f"<p>The same for programs: <a href=openapi.json>openapi.json</a></p>{''.join(parts)}</html>"
    )


def _shown(schema: Any) -> str:
    return html.escape(json.dumps(schema, indent=1))
