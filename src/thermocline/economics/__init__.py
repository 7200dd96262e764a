"""What storage costs, and what it would have cost: pure arithmetic over columns, no I/O, no clock.

`figures` and `price_books` are the prices, `sheets` what a day, a read and a move of each object cost by them,
`histories` what was read when, `bills` what a history cost under some moves, `optimum` the cheapest moves there are,
`policies` rules that decide without knowing the future, `replays` what they would have done, `comparisons` all of it
side by side.
"""
