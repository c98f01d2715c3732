"""Rows as data frames, and intervals over them."""
