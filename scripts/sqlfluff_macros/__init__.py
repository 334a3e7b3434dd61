"""The stand-ins without a package name: `{{ training_set(...) }}` beside `{{ pit_join.training_set(...) }}`."""

from .pit_join import latest_snapshot, point_in_time_join, training_set

__all__ = ["latest_snapshot", "point_in_time_join", "training_set"]
