"""Spine in, training set out."""
