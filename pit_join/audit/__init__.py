"""Leaks, found in training sets that anybody made and in the SQL of features."""
