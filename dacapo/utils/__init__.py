"""Pure functions on arrays and small helpers; nothing here knows about runs or stores."""
