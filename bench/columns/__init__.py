"""Sweeps of the whole catalog into Arrow: through the port, against ADBC that loads the same columns and nothing else.

Each side runs in a process of its own and drops what it has looked at, as whoever decides does. ADBC reads in one
statement, for which memory need not be bounded and a crash begins anew: all rows as they lie, and in the order of ids.
Ours reads in chunks, in order, without what has expired. Contents lie in the table in the order of their ids (imports)
or at random (ids that are hashes): then every row is on another page.
"""

from bench.columns import turns
from bench.figures import Table
from bench.plan import Plan


def run(plan: Plan) -> Table:
    return Table(
        name="columns",
        title="the whole catalog as columns, in chunks in the order of ids: time of the port's sweep to bare ADBC's",
        rows=turns.on_both(plan, ours="columns"),
        notes=(
            "Peer: ADBC's drivers, one statement, the same columns, batch by batch. 2 and 1.3 are for a decision",
            "about each content too (issue 6). CPU includes the database's. --large adds 3 and 10 million.",
        ),
    )
