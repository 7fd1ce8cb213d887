"""python -m tifftockd.ctl."""

import sys

from tifftockd.ctl.cli import main

sys.exit(main())
