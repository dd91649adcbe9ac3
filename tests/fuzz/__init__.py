"""Attacks on every reader of files that nobody vouches for; `make fuzz`."""
