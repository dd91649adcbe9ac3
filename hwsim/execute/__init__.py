"""From a quantized network to codes: the plan, the trace, the score."""
