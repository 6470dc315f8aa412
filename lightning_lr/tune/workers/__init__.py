"""What runs around trials: the study, and workers that start a process for each trial."""
