"""Every setting with its one default, and the units of work that settings make."""
