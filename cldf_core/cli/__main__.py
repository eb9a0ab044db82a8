"""Runs the `cldf` command: python -m cldf_core.cli."""

import sys

from cldf_core.cli import main

sys.exit(main())
