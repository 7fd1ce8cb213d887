"""`python -m tifftockd`."""

import sys

from tifftockd.cli import main

sys.exit(main())
