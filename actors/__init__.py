"""Ray: where units of work run, how they are submitted, and what is told of them meanwhile.

Ray reads its environment variables when it is imported, so these modules import it within functions, after
`actors.cluster.connect` has set them.
"""
