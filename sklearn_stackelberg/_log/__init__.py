"""Checks, links, tables and views of logged rows: what `transitions` is made of."""
