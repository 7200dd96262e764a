"""How much is tried: the usual counts, or full ones in a soak."""

import os

SOAK = os.environ.get("THERMOCLINE_SOAK") == "1"
