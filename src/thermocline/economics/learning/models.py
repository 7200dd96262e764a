"""What was learned, as plain arrays: a decision is a look-up, and the whole can be kept as bytes."""

import io
import zipfile
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.learning.observed import FEATURES, SILENCES, Observed
from thermocline.economics.learning.terms import steps_of
from thermocline.economics.learning.trees import Tree
from thermocline.economics.sheets import Money

FORMAT: Final = 1
"""Raised when what the arrays mean changes. Bytes of another format are refused, and the model is trained again."""
LARGEST_BYTES: Final = 1_000_000
_KIND: Final = "thermocline-learned"


@dataclass(frozen=True, slots=True)
class Advice:
    """For each object the place of its class, and what going there should save over staying where it is, in USD."""

    places: NDArray[np.int8]
    saving: Money
    """Over `HORIZON_DAYS`, everything counted; 0 for what stays."""


@dataclass(frozen=True, slots=True)
class Model:
    """Knows a class for every object, whatever its size and past. The same columns, the same answer."""

    class_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    """Bytes of the objects that it was worked out for, ascending; others are taken for the nearest one."""
    tree: Tree
    steps: NDArray[np.int64]
    """How many steps of days in class each class has."""
    targets: NDArray[np.int8]
    """[state, class, size]: the best other class."""
    gains: NDArray[np.float32]
    """[state, steps of all classes, size]: USD that going there saves over staying, negative where it costs."""

    def advise(self, seen: Observed) -> Advice:
        """Return where objects belong. `places` count in `class_names`. Nothing is changed."""
        states = self.tree.reach(seen.features(), seen.silences()).astype(np.int64)
        sizes = self._nearest(seen)
        here = seen.places.astype(np.int64)
        begins = np.cumsum(self.steps) - self.steps
        step = begins[here] + np.minimum(steps_of(seen.days_in_class), self.steps[here] - 1)
        gains = self.gains[states, step, sizes]
        # What has no bytes saves nothing, wherever it is.
        goes = (gains > 0) & (seen.sizes > 0)
        places = np.where(goes, self.targets[states, here, sizes], seen.places)
        share = seen.sizes / self.sizes[sizes]
        return Advice(places, np.where(goes, gains, 0.0) * share)

    def to_bytes(self) -> bytes:
        """Return the model as bytes that `from_bytes` takes."""
        arrays = {f"tree_{field.name}": getattr(self.tree, field.name) for field in fields(Tree)}
        out = io.BytesIO()
        np.savez_compressed(
            out,
            kind=np.array(_KIND),
            format=np.array(FORMAT),
            features=np.array(FEATURES),
            silences=np.array(SILENCES),
            class_names=np.array(self.class_names),
            sizes=self.sizes,
            steps=self.steps,
            targets=self.targets,
            gains=self.gains,
            **arrays,
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the model that was made bytes.

        Raises `InvalidInputError` for what is no model, is of another format, or does not fit together.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                read = {name: found[name] for name in found.files}
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as exc:
            raise InvalidInputError("these bytes are no model of `learned`: train it again") from exc
        if str(read.get("kind")) != _KIND or str(read.get("format")) != str(FORMAT):
            raise InvalidInputError("the model is not one of this program's format: train it again")
        if tuple(read.get("features", ())) != FEATURES or tuple(read.get("silences", ())) != SILENCES:
            raise InvalidInputError("the model was learned from other features: train it again")
        try:
            tree = Tree(**{field.name: read[f"tree_{field.name}"] for field in fields(Tree)})
            names = tuple(str(name) for name in read["class_names"])
            model = cls(names, read["sizes"], tree, read["steps"], read["targets"], read["gains"])
        except KeyError as exc:
            raise InvalidInputError(f"the model has no {exc}: train it again") from exc
        if not model._fits():
            raise InvalidInputError("the arrays of the model do not fit together: train it again")
        return model

    def _nearest(self, seen: Observed) -> NDArray[np.int64]:
        edges = np.sqrt(self.sizes[1:].astype(np.float64) * self.sizes[:-1])
        return np.searchsorted(edges, seen.sizes, side="right")

    def _fits(self) -> bool:
        count, classes, tree = self.tree.count, len(self.class_names), self.tree
        nodes = len(tree.features)
        return (
            self.targets.shape == (count, classes, len(self.sizes))
            and self.steps.shape == (classes,)
            and bool((self.steps > 0).all())
            and self.gains.shape == (count, int(self.steps.sum()), len(self.sizes))
            and bool(((self.targets >= 0) & (self.targets < classes)).all())
            and tree.thresholds.shape == tree.rights.shape == tree.states.shape == (nodes,)
            and nodes > len(SILENCES)
            and bool(((tree.features >= -1) & (tree.features < len(FEATURES))).all())
            and bool(((tree.rights >= 0) & (tree.rights < nodes)).all())
            and bool((tree.states[tree.features < 0] >= 0).all() and (tree.states < count).all())
        )
