"""pure: the curve fitted to a search, its best ratio, and the uncertainty of that ratio."""
