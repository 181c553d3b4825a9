"""Plain training: loop, checkpoints, artifacts, tracking."""
