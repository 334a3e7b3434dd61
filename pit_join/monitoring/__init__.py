"""What was served and stored, held against the rule."""
