"""The names by which logs say that an episode ended or was cut."""

from __future__ import annotations

from collections.abc import Hashable

# Other libraries' names of an end for good.
TERMINATED = ("terminal", "terminals", "termination", "terminations", "is_terminal")

# Gym's old name for either kind of end, of which only one has no value after it.
DONE = ("done", "dones")

# Where episodes are cut; beside `terminated`, "done" says so too.
_TRUNCATED = ("truncated", "truncation", "truncations", "timeout", "timeouts")
CUTS = (*_TRUNCATED, "timelimit.truncated", *DONE)

# Ends of which nothing says of which kind they are.
OTHER_ENDS = ("is_last", "is_done", "episode_end", "end_of_episode", "episode_over")


def plain_name(name: Hashable) -> str:
    """A column's name as it is looked up."""
    return str(name).lower().strip()


def looks_like_an_end(name: Hashable) -> bool:
    """Whether a column of this name is likely to say where episodes end."""
    return plain_name(name) in ("terminated", *TERMINATED, *CUTS, *OTHER_ENDS)
