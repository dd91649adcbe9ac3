"""Benchmarks (`make bench`) and studies (`make study`)."""
