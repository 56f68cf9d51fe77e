"""How well the package survives kills, strange files and long use; docs/reliability.md holds the figures."""
