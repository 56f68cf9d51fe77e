"""``python -m dacapo.blockwise`` is a worker process, see :mod:`dacapo.blockwise.worker`."""

from __future__ import annotations

from dacapo.blockwise.worker import main

if __name__ == "__main__":
    main()
