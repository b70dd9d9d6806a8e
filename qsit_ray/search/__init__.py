"""rim: the proxy search: space, trial, Tuner."""
