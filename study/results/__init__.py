"""Results on disk: units, their rows, and whether they are still what was written."""
