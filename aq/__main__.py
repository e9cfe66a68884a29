"""``python -m aq`` is ``aq``."""

from aq.cli import main

if __name__ == "__main__":
    main()
