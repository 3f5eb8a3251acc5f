"""python -m tests.bench"""

import signal
import sys

from tests.bench.cli import main

# What is mounted must be unmounted, and trees removed, also when someone ends this.
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
sys.exit(main())
