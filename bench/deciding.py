"""What the policy would change in the whole catalog, against ADBC that loads the same columns and nothing else.

Ours sweeps the catalog, decides on each content (`idle`, two classes of S3), and makes a list of what is to be copied
and of what changes its tier where it is, with forecasts and reasons; nothing is written.
"""

from bench.columns import turns
from bench.figures import Table
from bench.plan import Plan


def run(plan: Plan) -> Table:
    return Table(
        name="decide",
        title="deciding on every content of the catalog, to the time in which bare ADBC loads the same columns",
        rows=turns.on_both(plan, ours="decide"),
        notes=(
            "Peer: ADBC's drivers, one statement, the same columns, batch by batch. About 2% are to be changed.",
            "CPU includes the database's. --large adds 3 and 10 million.",
        ),
    )
