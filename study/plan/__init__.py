"""The way from a study's YAML to its units: reading, expanding, selecting, stacking, estimating memory."""
