"""pure: a trained model in use: scores, answers and descriptions of images."""
