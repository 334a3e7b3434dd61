"""One HTML page that shows a project: its catalogue, lineage, monitoring and findings."""
