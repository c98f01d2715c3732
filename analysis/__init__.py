"""From the rows of a study to its report; needs neither MLX nor Ray."""
