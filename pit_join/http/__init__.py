"""Features over HTTP."""
