"""The declarations of a project, checked once."""
