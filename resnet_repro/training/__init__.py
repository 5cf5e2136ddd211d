"""One training run: the step, its schedule, the Lightning module around it, its checkpoints."""
