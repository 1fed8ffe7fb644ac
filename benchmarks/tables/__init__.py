"""The tables, one a module with ``run(rows, side, seeds)`` giving markdown."""
