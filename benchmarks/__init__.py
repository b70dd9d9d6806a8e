"""pure: speed, side by side with what users would run instead: `make bench`."""
