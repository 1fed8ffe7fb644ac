"""The parts of `leaders`: policies over continuous actions."""
