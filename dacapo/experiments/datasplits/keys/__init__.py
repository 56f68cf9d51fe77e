"""Names of what a dataset provides."""
