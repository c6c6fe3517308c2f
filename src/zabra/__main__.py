"""``python -m zabra`` is the command ``zabra``."""

import sys

from zabra.main import main

if __name__ == "__main__":
    sys.exit(main())
