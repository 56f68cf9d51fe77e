"""Stores of configs, statistics, scores, checkpoints and arrays."""
