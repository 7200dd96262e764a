"""The `[policy]` and `[prices]` of the settings: which policy moves content by itself, and what it goes by."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, create_model, field_validator

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Seconds
from thermocline.domain.windows import parse_window
from thermocline.economics.figures import FIGURES
from thermocline.wiring.sections import Duration, Section, Size

_DAY = 86400.0
NO_PRICES = "none"
"""What `[placements.NAME] prices` says of a placement that costs nothing."""


def _read_none(value: Any) -> Any:
    return None if value == "none" else value


class PolicySettings(Section):
    """Moving content to where it is cheapest for how it is read."""

    name: Literal["learned", "idle", "velocity", "age", "intelligent", "stay"] = "learned"
    """Which policy says in which placement content belongs, from its storage reads. `stay`: all stays where it is put.
    `learned` learns from the reads of this store, once a day; until it has learned enough, `idle` decides."""

    every: Duration = Seconds(_DAY)
    """How long after the beginning of one pass over everything the next begins; `0`: only when somebody asks."""

    window: Annotated[str | None, BeforeValidator(_read_none)] = None
    """The part of the day (UTC) in which copies are planned and passes run, such as `01:00-05:00`. `none`: always."""

    horizon: Duration = Field(default=Seconds(90 * _DAY), ge=_DAY)
    """How long what a move saves is counted: it must pay for itself within this time, by the reads to expect."""

    minimum_stay: Duration = Seconds(7 * _DAY)
    """How long content stays where it was put before a policy copies it to cheaper storage; longer if its class bills
    more. It comes back as soon as that pays, whatever is left of the stay included."""

    delayed_read: Annotated[float | None, BeforeValidator(_read_none)] = Field(default=None, ge=0)
    """What one read that waits for a restore costs you, in US dollars: then policies may use classes that wait.
    `none`: everything must answer at once, and what users put into such a class stays there."""

    daily_moves: Annotated[int | None, BeforeValidator(_read_none)] = Field(default=None, ge=0)
    """How many copies policies may plan in one UTC day, over all processes. `none`: no limit."""

    daily_bytes: Annotated[Size | None, BeforeValidator(_read_none)] = None
    """How many bytes those may have together. `none`: no limit."""

    daily_usd: Annotated[float | None, BeforeValidator(_read_none)] = Field(default=10.0, ge=0)
    """How many US dollars the copies of one UTC day may cost together. `none`: no limit."""

    @field_validator("window")
    @classmethod
    def _check_window(cls, window: str | None) -> str | None:
        return None if window is None else str(parse_window(window))


class OwnPricesSettings(Section):
    """A storage class: your own prices over those of the books, or a class that no book has. `none`: as in the book."""

    def figures(self) -> dict[str, float]:
        """Return the figures that are given."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


_FIGURE: TypeAlias = Annotated[float | None, BeforeValidator(_read_none)]
_FIELDS: dict[str, Any] = {
    name: (_FIGURE, Field(default=None, description=f"{about[0].upper()}{about[1:]}."))
    for name, about in FIGURES.items()
}
ClassPricesSettings: type[OwnPricesSettings] = create_model(
    "ClassPricesSettings", __base__=OwnPricesSettings, __doc__=OwnPricesSettings.__doc__, **_FIELDS
)
"""With a field for each figure that a class may have."""


def own_figures(prices: Mapping[str, OwnPricesSettings]) -> dict[str, dict[str, float]]:
    """Return the figures that the settings give, by class."""
    return {name: each.figures() for name, each in prices.items()}


def check_prices(prices: Mapping[str, OwnPricesSettings]) -> None:
    """Raise `ValueError` unless each figure is known and possible, and classes of known vendors are known."""
    from thermocline.economics.price_books import with_own_classes

    try:
        with_own_classes(own_figures(prices))
    except InvalidInputError as exc:
        raise ValueError(str(exc)) from exc
