"""``python -m dacapo.blockwise`` is a worker process, see :mod:`dacapo.blockwise.worker.process`."""

from __future__ import annotations

from dacapo.blockwise.worker.process import main

if __name__ == "__main__":
    main()
