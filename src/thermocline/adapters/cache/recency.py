"""Which entry a full cache gives up first."""

from collections import OrderedDict


class LeastRecentlyUsed:
    """Gives up the key that was not touched for the longest time. Every step takes constant time."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()
        # A bound method of the dictionary: a hit pays for no Python call.
        self.touch = self._keys.move_to_end

    def add(self, key: str) -> None:
        """Note a new key, as just used."""
        self._keys[key] = None

    def remove(self, key: str) -> None:
        """Forget a key."""
        del self._keys[key]

    def victim(self) -> str:
        """Return the key to give up next. Raises `StopIteration` if there is none."""
        return next(iter(self._keys))

    def clear(self) -> None:
        """Forget all keys."""
        self._keys.clear()
