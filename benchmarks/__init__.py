"""How long the package takes, beside the plain way to do the same work; ``python -m benchmarks.run`` prints a table."""

import os

# Before NumPy and PyTorch are imported, which read it once: with one thread, ratios do not depend on idle cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ.setdefault(_name, "1")
