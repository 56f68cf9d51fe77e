"""The commands of ``dacapo``, and what several of them have in common."""
