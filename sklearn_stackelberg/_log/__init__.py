"""What `transitions.py` stands on: checks, links, tables and views of logged rows."""
