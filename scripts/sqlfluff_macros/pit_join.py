"""Stand-ins for the public macros when sqlfluff lints a model: any arguments, some valid SQL."""


def training_set(spine: object, *_arguments: object, **_options: object) -> str:
    return f"select s.* from {spine} as s"


def point_in_time_join(spine: object, history: object, *_arguments: object, **_options: object) -> str:
    # Names both arguments, so that sqlfluff counts a common table expression in them as used.
    return f"select s.* from {spine} as s cross join {history} as h"


def latest_snapshot(view: object, *_arguments: object, **_options: object) -> str:
    return f"select v.* from {view} as v"


def wall_time(instant: str, time_zone: str = "'UTC'") -> str:
    return f"timezone({time_zone}, {instant})"


instant_of = wall_time
