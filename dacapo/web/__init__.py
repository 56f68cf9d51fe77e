"""Pages about runs: what the report writes into a file, and the dashboard serves."""
