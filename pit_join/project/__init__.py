"""dbt and Jinja."""
