"""Values that were served and stored, held against the rule."""
