"""Of this folder pytest runs the pages alone."""

# Sphinx's settings, and what a build of the site leaves here.
collect_ignore_glob = ["*.py", "examples", "generated", "_build"]
