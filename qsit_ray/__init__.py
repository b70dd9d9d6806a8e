"""pure: qsit_ray finds the data mix of a vision-language model with a proxy and trains with it."""

__version__ = "0.1.0"
