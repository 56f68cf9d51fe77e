"""Where graphs, such as skeletons, are read from."""
