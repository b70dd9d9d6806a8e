"""pure: the demo: photographs, rows, questions and two small pre-trained models."""
