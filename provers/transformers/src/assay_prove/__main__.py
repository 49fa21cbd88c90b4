"""`python -m assay_prove`."""

import sys

from .cli import main

sys.exit(main())
