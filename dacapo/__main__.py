"""Run the command line as `python -m dacapo`."""

from dacapo.cli import main

if __name__ == "__main__":
    main()
