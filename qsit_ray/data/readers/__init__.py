"""pure: the image-quality databases as their owners ship them, a reader each."""
