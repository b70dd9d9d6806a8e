"""rim: the primary's run on Ray Train with DeepSpeed, remixed each epoch."""
