"""What `datasets.py` stands on: environments and finite decision processes."""
