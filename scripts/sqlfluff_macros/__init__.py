"""The stand-ins without a package name: `{{ training_set(...) }}` beside `{{ pit_join.training_set(...) }}`."""

from .pit_join import instant_of, latest_snapshot, point_in_time_join, training_set, wall_time

__all__ = ["instant_of", "latest_snapshot", "point_in_time_join", "training_set", "wall_time"]
