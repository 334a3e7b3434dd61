"""One online store a module, with its `SCHEMES` (of URLs; "" is a path) and an `open_store`."""
