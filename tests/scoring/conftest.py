"""surface-distance 0.1 predates numpy 2; giving back two names keeps it usable as an oracle."""

from __future__ import annotations

import numpy as np

np.Inf, np.NaN = np.inf, np.nan
