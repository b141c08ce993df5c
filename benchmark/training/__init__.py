"""The training loop, its objectives, schedules, checkpoints, locks and processes."""
