"""Ray: where units of work run, how they are submitted, and what is told of them meanwhile."""
