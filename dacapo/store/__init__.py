"""What a run leaves behind: configs, statistics, scores, checkpoints and arrays."""
