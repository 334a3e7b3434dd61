"""What a project declares, checked once."""
