"""Judges prediction on traces of your own: `python -m bench.co_access FILE.csv.zst ...`, with columns ts, obj,
session (or client), and size if there are any."""

import sys
from pathlib import Path

from bench import report
from bench.co_access.comparison import table_of

for _name in sys.argv[1:]:
    print(report.as_text(table_of([Path(_name)], print)))
if not sys.argv[1:]:
    sys.exit(__doc__)
