"""Intervals, tests and verdicts for values of prompts that share templates, operands, seeds and models.

Templates are the sample everywhere: everything starts from one value a template, which `analysis.data.samples` averages
from its prompts. How often each procedure is wrong, by simulation, stands in simulations/RESULTS.md.
"""
