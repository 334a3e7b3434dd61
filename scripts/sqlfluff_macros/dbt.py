"""Stand-ins for macros of dbt when sqlfluff lints a model."""


def cast(field: str, type: str) -> str:
    return f"cast({field} as {type})"
