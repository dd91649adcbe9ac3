"""Rules on plain integers: each written once, compiled by the jit backend, restated by the C core."""
