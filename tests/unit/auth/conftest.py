"""Makes ``auth_samples`` importable by name, as a user's provider module is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
