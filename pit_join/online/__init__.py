"""Online stores, where records lie."""
