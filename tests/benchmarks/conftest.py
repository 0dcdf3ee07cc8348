"""The benchmarks are not installed with the package; find them in the repository."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
