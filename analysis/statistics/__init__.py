"""Intervals, tests and verdicts for values of prompts that share templates, operands, seeds and models.

Templates are the sample everywhere: `tables` averages prompts into one value a template, and everything else starts
there. How often each procedure is wrong, by simulation, stands in simulations/RESULTS.md.
"""
