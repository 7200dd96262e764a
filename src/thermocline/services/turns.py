"""Turns: so many at once may do what costs others something, such as reading from a store; the rest wait."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

Turns = AbstractAsyncContextManager[object]
"""What is entered for the length of one turn, many times over: a semaphore, say."""
AT_ONCE: Final[Turns] = nullcontext()
"""Nobody waits."""
