"""Stored history: which batches are missing, and running them."""
