"""The command line: the same store, the same settings, the same guarantees, beside a running service.

Standard output carries results only; everything else goes to standard error. Heavy imports happen inside
commands, so that `--help` and small commands start fast.
"""
