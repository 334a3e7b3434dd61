"""From the warehouse to the online store."""
