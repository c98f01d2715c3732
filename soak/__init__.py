"""Faults on real Ray clusters, one after the other, and whether every cell is there exactly once afterwards."""
