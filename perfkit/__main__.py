"""`python -m perfkit`: the command line of this very interpreter, for timers that know no PATH."""

import sys

from perfkit.cli import main

sys.exit(main())
