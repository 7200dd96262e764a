"""How well what is read next is predicted, and what fetching it ahead does to the hit ratio."""

from bench.co_access.comparison import run as run
