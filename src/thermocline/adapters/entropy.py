"""Random bytes from the operating system, fetched in blocks."""

import os
import threading

BLOCK_BYTES = 4096


class SystemEntropy:
    """Random bytes fit for secrets; no two calls share any, also across threads and forks.

    A system call for each token would give up the interpreter lock on the way of every write; one for each block
    does not show.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = b""
        self._used = 0
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, size: int) -> bytes:
        """Return `size` random bytes."""
        if size > BLOCK_BYTES:
            return os.urandom(size)
        with self._lock:
            if self._used + size > len(self._block):
                self._block = os.urandom(BLOCK_BYTES)
                self._used = 0
            start, self._used = self._used, self._used + size
            return self._block[start : self._used]

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._block = b""
        self._used = 0
