"""Stored history: finding the missing batches, and running them."""
