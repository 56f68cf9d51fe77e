"""How long the package takes beside what people would use instead; run as ``python -m benchmarks.alternatives``."""
