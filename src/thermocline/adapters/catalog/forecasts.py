"""Forecasts of moves as two columns, both null or neither."""

from thermocline.domain.moves import MoveForecast
from thermocline.domain.units import Usd


def cells_of(forecast: MoveForecast | None) -> tuple[float | None, float | None]:
    """Return the columns `saving_usd_per_month` and `cost_usd`."""
    return (None, None) if forecast is None else (forecast.saving_usd_per_month, forecast.cost_usd)


def forecast_of(saving_usd_per_month: float | None, cost_usd: float | None) -> MoveForecast | None:
    """Return the forecast in the two columns."""
    if saving_usd_per_month is None or cost_usd is None:
        return None
    return MoveForecast(Usd(saving_usd_per_month), Usd(cost_usd))
