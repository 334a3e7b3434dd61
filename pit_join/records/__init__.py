"""The bytes of the store, and what a store says of itself."""
