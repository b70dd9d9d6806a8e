"""pure: the curve fitted to a search, its best ratio, and how sure one can be of it."""
