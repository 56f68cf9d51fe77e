"""Pure functions on arrays and small helpers, independent of runs and stores."""
