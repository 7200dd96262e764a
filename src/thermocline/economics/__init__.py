"""What storage costs, and what it would have cost: pure arithmetic over columns, no I/O, no clock.

`figures` and `price_books` are the prices, `sheets` what a day, a read and a move of each object cost by them,
`histories` what was read when, `bills` what a history cost under some moves, `optimum` the cheapest moves there are,
`policies` rules that decide without knowing the future, `learning` what one of them learns, `replays` what they would
have done, `shadows` whether to trust what was learned, `rules` their names, `comparisons` all of it side by side.
"""
