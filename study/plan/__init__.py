"""From the YAML of a study to its units: reading, expanding, choosing, stacking, what fits in memory."""
