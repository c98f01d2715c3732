"""How often the intervals, tests and verdicts of `analysis.statistics` are wrong, where the truth is known."""
