"""`python -m pitchmodels`, the same as the `pitchmodels` command."""

import sys

from .cli import main

sys.exit(main())
