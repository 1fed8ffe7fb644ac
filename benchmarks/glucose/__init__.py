"""The glucose log: its simulator, its logger, and the script that wrote it."""
