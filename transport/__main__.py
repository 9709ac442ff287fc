"""Run the command line: ``python -m transport`` does the same as ``greenroom``."""

import sys

from transport.cli import main

sys.exit(main())
