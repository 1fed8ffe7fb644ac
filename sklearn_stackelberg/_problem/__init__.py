"""What solvers and evaluators share: rows, action spaces, a problem's units."""
