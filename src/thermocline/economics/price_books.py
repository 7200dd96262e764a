"""The price books that come with Thermocline, the user's own prices over them, and what of it nobody has verified."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.figures import ClassPrices, Figure, checked

BOOKS: Final = ("s3", "r2", "gcs", "azure", "b2")
OVERRIDE: Final = "override"
SPEEDS: Final = ("bulk", "standard", "expedited")
_BY_SPEED: Final = ("retrieval", "retrieval_request", "first_byte_seconds")


@dataclass(frozen=True, slots=True)
class UnverifiedPrice:
    """A figure that a result rests on and that was not read in the vendor's page."""

    class_name: str
    figure: str
    value: float
    source: str
    date: str


def shipped() -> Mapping[str, ClassPrices]:
    """Return every class of every book by its name."""
    return MappingProxyType({name: prices for book in BOOKS for name, prices in _book(book)[1].items()})


def default_classes(book: str) -> tuple[str, ...]:
    """Return the classes that a book compares unless others are asked for. Raises `InvalidInputError`."""
    return _book(book)[0]


def with_overrides(
    overrides: Mapping[str, Mapping[str, Any]] | None = None, known: Mapping[str, ClassPrices] | None = None
) -> Mapping[str, ClassPrices]:
    """Return all classes, with the user's figures over the shipped ones, or `known`: `{"s3.standard": {"get": 1}}`.

    What a user says counts as verified. Raises `InvalidInputError` for an unknown class or figure, and for what no
    price is: negative, NaN, no number. Nothing is taken over then.
    """
    classes = dict(shipped() if known is None else known)
    for name, figures in (overrides or {}).items():
        before = _known(classes, name)
        if not isinstance(figures, Mapping):
            raise InvalidInputError(f"prices: {name} is a table of figures, not {figures!r}")
        own = {
            figure: Figure(checked(name, figure, value), source=OVERRIDE, date="", verified=True)
            for figure, value in figures.items()
        }
        classes[name] = replace(before, figures=MappingProxyType({**before.figures, **own}))
    return MappingProxyType(classes)


def with_own_classes(own: Mapping[str, Mapping[str, Any]]) -> Mapping[str, ClassPrices]:
    """Return all classes, with the user's figures over them, and classes of the user's own: `{"ceph.cold": {...}}`.

    A class that is not in the books of its vendor is refused: it is written wrong. Raises as `with_overrides` does.
    """
    known = shipped()
    foreign = {name: figures for name, figures in own.items() if name.partition(".")[0] not in BOOKS}
    for name in foreign:
        if not all(name.partition(".")):
            raise InvalidInputError(f"prices: a class is named VENDOR.CLASS, such as 'ceph.cold', not {name!r}")
    made = {name: ClassPrices(name, MappingProxyType({})) for name in foreign}
    return with_overrides(own, MappingProxyType({**known, **made}))


def chosen(classes: Mapping[str, ClassPrices], names: Sequence[str]) -> tuple[ClassPrices, ...]:
    """Return these classes in this order. Raises `InvalidInputError` for none, an unknown one, or one named twice."""
    if not names:
        raise InvalidInputError("name at least one storage class")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InvalidInputError(f"the class {twice[0]} is named twice")
    return tuple(_known(classes, name) for name in names)


def at_speed(prices: ClassPrices, speed: str) -> ClassPrices:
    """Return the class with the restores of this speed: `bulk`, `standard` (as in the books) or `expedited`.

    Classes that need no restore stay as they are. Raises `InvalidInputError` if the class has no such speed.
    """
    if speed not in SPEEDS:
        raise InvalidInputError(f"there is no restore speed {speed!r}; there are {', '.join(SPEEDS)}")
    if speed == "standard" or not prices.first_byte:
        return prices
    if f"first_byte_seconds_{speed}" not in prices.figures:
        raise InvalidInputError(f"{prices.name} has no {speed} restores")
    own = {name: prices.figures[f"{name}_{speed}"] for name in _BY_SPEED if f"{name}_{speed}" in prices.figures}
    return replace(prices, figures=MappingProxyType({**prices.figures, **own}))


def unverified(classes: Iterable[ClassPrices]) -> list[UnverifiedPrice]:
    """Return the figures that a comparison of these classes rests on and that were not read in the vendor's page.

    Left out is what cannot count: the egress of a single vendor, writes where moves have a fee of their own.
    """
    classes = tuple(classes)
    is_one_vendor = len({prices.vendor for prices in classes}) == 1
    return [
        UnverifiedPrice(prices.name, name, figure.value, figure.source, figure.date)
        for prices in classes
        for name, figure in prices.figures.items()
        if not figure.verified
        and not name.endswith(SPEEDS)
        and not (name == "egress" and is_one_vendor)
        and not (name == "put" and "transition" in prices.figures)
    ]


def _known(classes: Mapping[str, ClassPrices], name: str) -> ClassPrices:
    try:
        return classes[name]
    except KeyError as exc:
        raise InvalidInputError(f"there are no prices for {name!r}; there are {', '.join(classes)}") from exc


@cache
def _book(name: str) -> tuple[tuple[str, ...], Mapping[str, ClassPrices]]:
    if name not in BOOKS:
        raise InvalidInputError(f"there is no price book {name!r}; there are {', '.join(BOOKS)}")
    read = tomllib.loads((resources.files(__package__) / "books" / f"{name}.toml").read_text("utf-8"))
    classes = {
        class_name: ClassPrices(
            class_name,
            MappingProxyType(
                {
                    figure: Figure(
                        checked(class_name, figure, told["value"]), told["source"], told["date"], told["verified"]
                    )
                    for figure, told in figures.items()
                }
            ),
        )
        for class_name, figures in read["classes"].items()
    }
    return tuple(read["default_classes"]), MappingProxyType(classes)
