"""Engines that run the SQL."""
