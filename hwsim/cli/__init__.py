"""The command line: one file per command, one call each into the Python API, no arithmetic.

This is the one place that catches HwsimError. Exit codes: 0 fine, 1 mismatch, 2 bad use.
"""

from hwsim.cli.frame import main

__all__ = ["main"]
