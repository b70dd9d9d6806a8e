"""pure: D2 from what people wrote of images (the paper's pathway feedbacks, III-B)."""
