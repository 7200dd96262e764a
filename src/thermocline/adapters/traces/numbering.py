"""Object ids become numbers, in the order in which they are first seen."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Numbering:
    """Each id once, as Arrow text: memory is that of the different ids."""

    def __init__(self) -> None:
        self._ids = pa.array([], pa.string())

    def number(self, object_ids: Any) -> NDArray[np.int32]:
        """Return the numbers of these ids; new ones get the next ones."""
        coded = object_ids.dictionary_encode()
        numbers = pc.index_in(coded.dictionary, value_set=self._ids)
        missing = pc.is_null(numbers)
        known = np.array(pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False), np.int32)
        is_new = missing.to_numpy(zero_copy_only=False)
        count = int(is_new.sum())
        if count:
            known[is_new] = np.arange(len(self._ids), len(self._ids) + count, dtype=np.int32)
            self._ids = pa.concat_arrays([self._ids, coded.dictionary.filter(missing)])
        found: NDArray[np.int32] = known[coded.indices.to_numpy(zero_copy_only=False)]
        return found

    def ids(self) -> list[str]:
        """Return the ids by their numbers."""
        return [str(each) for each in self._ids.to_pylist()]
