"""Options in, tables out; click lives only here."""
