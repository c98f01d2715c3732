"""Running units of work with Ray: clusters, tasks, their progress and metrics.

Ray reads its environment variables when it is imported, so these modules import it within functions, after
`actors.cluster.connect` has set them.
"""
