"""The words and tables of the report, made from what was decided."""
