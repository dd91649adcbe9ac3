"""Number formats for a float network: float execution, ranges, and the choice of formats."""
