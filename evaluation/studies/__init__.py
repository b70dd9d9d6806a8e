"""pure: the studies behind the figures in docs/: simulations, reproductions, measurements."""
