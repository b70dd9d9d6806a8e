"""rim: the proxy search: its trials, the Tuner that runs them, and their records."""
