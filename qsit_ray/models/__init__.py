"""torch: build, pre-train, load and score LLaVA-OneVision checkpoints."""
