"""Who computes, never what: spec, jit and native give identical codes, accumulators and events."""
