"""The books say what the design's table says; the user's prices go over them; what is no price is refused."""

import pytest

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Seconds
from thermocline.economics.figures import FIGURES
from thermocline.economics.price_books import (
    BOOKS,
    at_speed,
    chosen,
    default_classes,
    shipped,
    unverified,
    with_overrides,
)

KB = 1024
# storage, PUT and GET a thousand, retrieval a GB, moving in a thousand, least days, least bytes; then what is verified
TABLE = {
    "r2.standard": (0.015, 0.0045, 0.00036, 0, 0.0045, 0, 0, "storage put get"),
    "r2.infrequent": (0.010, 0.009, 0.0009, 0.01, 0.009, 30, 0, "storage put get"),
    "s3.standard": (0.023, 0.005, 0.0004, 0, 0.005, 0, 0, "storage retrieval"),
    "s3.standard_ia": (0.0125, 0.01, 0.001, 0.01, 0.01, 30, 128 * KB, "storage retrieval minimum_days minimum_bytes"),
    "s3.onezone_ia": (0.010, 0.01, 0.001, 0.01, 0.01, 30, 128 * KB, "storage retrieval minimum_days minimum_bytes"),
    "s3.glacier_ir": (0.004, 0.02, 0.01, 0.03, 0.02, 90, 128 * KB, "storage retrieval minimum_days minimum_bytes"),
    "s3.glacier": (0.0036, 0.03, 0.0004, 0.01, 0.03, 90, 0, "storage retrieval minimum_days"),
    "s3.deep_archive": (0.00099, 0.05, 0.0004, 0.02, 0.05, 180, 0, "storage retrieval minimum_days"),
    "s3.intelligent": (0.023, 0.005, 0.0004, 0, 0.01, 0, 0, "storage retrieval"),
    "gcs.standard": (0.020, 0.005, 0.0004, 0, 0.005, 0, 0, "storage"),
    "gcs.nearline": (0.010, 0.01, 0.001, 0.01, 0.01, 30, 0, "storage"),
    "gcs.coldline": (0.004, 0.02, 0.01, 0.02, 0.02, 90, 0, "storage"),
    "gcs.archive": (0.0012, 0.05, 0.05, 0.05, 0.05, 365, 0, "storage"),
    "azure.hot": (0.0184, 0, 0, 0, 0, 0, 0, ""),
    "azure.cool": (0.010, 0, 0, 0.01, 0, 30, 0, ""),
    "azure.cold": (0.0036, 0, 0, 0.03, 0, 90, 0, ""),
    "azure.archive": (0.00099, 0, 0, 0.022, 0, 180, 0, ""),
    "b2": (0.006, 0, 0.0004, 0, 0, 0, 0, ""),
}


def test_the_table_is_whole() -> None:
    assert set(shipped()) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_class_costs_what_the_table_says(name: str) -> None:
    prices = shipped()[name]
    told = [prices.value(figure) for figure in ("storage", "put", "get", "retrieval")]
    assert (*told, prices.transition, prices.minimum_days, prices.minimum_bytes) == TABLE[name][:-1]
    proved = {
        figure
        for figure in ("storage", "put", "get", "retrieval", "minimum_days", "minimum_bytes")
        if figure in prices.figures and prices.figures[figure].verified
    }
    assert proved == set(str(TABLE[name][-1]).split())


def test_every_figure_tells_where_and_when_it_is_from() -> None:
    for prices in shipped().values():
        for name, figure in prices.figures.items():
            assert name in FIGURES
            assert figure.source.startswith("https://"), (prices.name, name)
            assert figure.date == "2026-11"


def test_archives_have_their_speeds() -> None:
    glacier, deep = shipped()["s3.glacier"], shipped()["s3.deep_archive"]
    assert (glacier.value("retrieval_request"), glacier.first_byte) == (0.05, Seconds(5 * 3600))
    fast = at_speed(glacier, "expedited")
    assert (fast.value("retrieval"), fast.value("retrieval_request"), fast.first_byte) == (0.03, 10.0, Seconds(300))
    slow = at_speed(deep, "bulk")
    assert (slow.value("retrieval"), slow.value("retrieval_request"), slow.first_byte) == (
        0.0025,
        0.025,
        Seconds(48 * 3600),
    )
    assert at_speed(glacier, "bulk").value("retrieval") == 0
    assert at_speed(shipped()["s3.standard"], "expedited") == shipped()["s3.standard"]
    with pytest.raises(InvalidInputError, match="no expedited restores"):
        at_speed(deep, "expedited")
    with pytest.raises(InvalidInputError, match="no restore speed 'warp'"):
        at_speed(deep, "warp")


def test_defaults() -> None:
    assert default_classes("s3") == ("s3.standard", "s3.standard_ia", "s3.glacier_ir")
    assert default_classes("r2") == ("r2.standard", "r2.infrequent")
    for book in BOOKS:
        chosen(shipped(), default_classes(book))
    with pytest.raises(InvalidInputError, match="no price book 'ibm'"):
        default_classes("ibm")


def test_the_users_prices_go_over_ours_and_count_as_verified() -> None:
    before = [(each.class_name, each.figure) for each in unverified(chosen(shipped(), ("s3.standard",)))]
    assert before == [("s3.standard", "put"), ("s3.standard", "get")]
    own = with_overrides({"s3.standard": {"storage": 0.021, "get": 0}})
    assert own["s3.standard"].value("storage") == 0.021
    assert own["s3.standard"].value("put") == 0.005
    assert own["s3.glacier"] == shipped()["s3.glacier"]
    after = [(each.class_name, each.figure) for each in unverified(chosen(own, ("s3.standard",)))]
    assert after == [("s3.standard", "put")]
    assert shipped()["s3.standard"].value("storage") == 0.023


def test_only_what_counts_is_told_as_unverified() -> None:
    alone = {(each.class_name, each.figure) for each in unverified(chosen(shipped(), default_classes("s3")))}
    assert ("s3.standard", "egress") not in alone
    assert ("s3.glacier_ir", "put") not in alone, "moving in has a fee of its own"
    both = {(each.class_name, each.figure) for each in unverified(chosen(shipped(), ("r2.standard", "s3.glacier")))}
    assert ("s3.glacier", "egress") in both


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"s3.standard": {"storage": -0.01}}, "s3.standard storage is at least 0"),
        ({"s3.standard": {"storage": float("nan")}}, "s3.standard storage is at least 0"),
        ({"s3.standard": {"storage": float("inf")}}, "at most"),
        ({"s3.standard": {"storage": "cheap"}}, "is a number, not 'cheap'"),
        ({"s3.standard": {"storage": True}}, "is a number, not True"),
        ({"s3.standard": {"storage": None}}, "is a number, not None"),
        ({"s3.standard": {"colour": 1}}, "no figure 'colour'"),
        ({"s3.standard": {"minimum_days": 1.5}}, "a whole number"),
        ({"s3.standard": {"minimum_days": 1e6}}, "at most 3660"),
        ({"r2.glacier": {"storage": 1}}, "no prices for 'r2.glacier'"),
        ({"s3.standard": 3}, "a table of figures"),
    ],
)
def test_what_is_no_price_is_refused(overrides: dict[str, dict[str, float]], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        with_overrides(overrides)


@pytest.mark.parametrize(
    ("names", "told"), [((), "at least one"), (("s3.standard", "s3.standard"), "twice"), (("x",), "no prices for 'x'")]
)
def test_classes_are_named_once_and_known(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        chosen(shipped(), names)
