"""Overflow: proofs that registers hold every input, witnesses that one does not, and the narrowest that will do."""
