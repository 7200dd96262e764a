"""The report: whole, alone, escaped, and readable by people and by machines."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.economics.naive import random_history
from thermocline.economics.comparisons import Question, compare
from thermocline.economics.losses import READ_BINS
from thermocline.economics.price_books import chosen, default_classes, shipped
from thermocline.economics.rules import RULES
from thermocline.economics.tallies import Tally, tally
from thermocline.interfaces.reports.amounts import amount_of_bytes, usd
from thermocline.interfaces.reports.charts import LABEL_GAP, bar_chart, line_chart
from thermocline.interfaces.reports.page import READ_WORDS, Story, Table, report, verdict

NASTY = "</title></style><script>alert('&')</script>\"' {{ 7*7 }} é\u2028"
VOID = {"meta", "link", "br"}


@pytest.fixture(scope="module")
def told() -> Tally:
    history = random_history(np.random.default_rng(2), objects=80, days=300, share=0.03)
    history = history.with_sizes(history.sizes * 1000)
    question = Question(chosen(shipped(), default_classes("s3")), tuple(RULES), shipped(), split=0.3, periods=12)
    return tally(history, compare(history, question))


def _story(text: str = "a title") -> Story:
    return Story(text, text, {"trace": text}, [f"p{number}" for number in range(12)], [text], [
        Table(text, ["what", "how much"], [[text, text]], text),
    ])  # fmt: skip


class Reader(HTMLParser):
    """Checks that elements are closed in their order, and collects what there is."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.seen if name == tag)


def test_it_is_one_page_that_needs_nothing_else(told: Tally) -> None:
    page = report(told, _story())
    reader = Reader(page)
    assert {name for name, _ in reader.seen} & {"script", "img", "iframe", "object", "base", "form"} == set()
    assert [each["href"] for each in reader.of("link")] == ["data:,"]
    assert "@import" not in page
    assert re.findall(r"url\(", page) == []
    policies = [each["content"] for each in reader.of("meta") if each.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert page == report(told, _story()), "the same again"


def test_what_comes_from_files_is_text_and_nothing_else(told: Tally) -> None:
    reader = Reader(report(told, _story(NASTY)))
    assert list(reader.of("script")) == []
    assert "".join(reader.text).count(NASTY) == 10
    assert NASTY in [each.get("aria-label") for each in reader.of("div")]


def test_every_policy_is_in_the_tables_and_the_plots(told: Tally) -> None:
    reader = Reader(report(told, _story()))
    text = reader.text
    for name, standing in told.policies.items():
        assert text.count(name) >= 5, "tables of policies, of time and of losses, both plots, the bars"
        assert usd(standing.total) in text
        assert f"{told.ratio(name):.3f}" in text
    assert len(list(reader.of("polyline"))) == 2 * len(RULES) + 1  # the second plot is against stay
    for price in told.unverified:
        assert {price.class_name, price.source, price.date} <= set(text)


def test_it_says_what_it_is_to_those_who_do_not_see_it(told: Tally) -> None:
    reader = Reader(report(told, _story()))
    identities = {each["id"] for _, each in reader.seen if "id" in each}
    plots = list(reader.of("svg"))
    assert len(plots) == 3
    for plot in plots:
        assert plot["role"] == "img"
        assert set((plot["aria-labelledby"] or "").split()) <= identities
    assert len(list(reader.of("caption"))) == len(list(reader.of("table")))
    assert all(each.get("scope") in {"col", "row"} for each in reader.of("th"))
    assert [each["lang"] for each in reader.of("html")] == ["en"]


def test_the_verdict_names_the_cheapest(told: Tally) -> None:
    name, standing = told.by_cost()[0]
    assert verdict(told).startswith(f"Of the policies, {name} is the cheapest: {usd(standing.total)} USD")


def test_without_stay_and_without_loss_there_is_still_a_page() -> None:
    history = random_history(np.random.default_rng(1), objects=1, days=3, share=0.0)
    question = Question(chosen(shipped(), ("r2.standard",)), ("idle",), shipped(), periods=12)
    page = report(tally(history, compare(history, question)), Story("t", "v", {}, ["a", "b", "c"]))
    Reader(page)
    assert "Saved so far" not in page


def test_words_for_reads_are_those_of_the_bins() -> None:
    assert len(READ_WORDS) == len(READ_BINS)


@pytest.mark.parametrize("seed", range(20))
def test_lines_lie_in_the_plot_and_their_names_apart(seed: int) -> None:
    draws = np.random.default_rng(seed)
    scale = 10.0 ** draws.integers(-6, 7)
    count = int(draws.integers(1, 30))
    courses = {
        f"p{number}": (draws.normal(0.5, 1, count) * scale).tolist() for number in range(int(draws.integers(1, 9)))
    }
    chart = line_chart(courses, [str(number) for number in range(count)])
    for line in chart.lines:
        for point in line.points.split():
            x, y = map(float, point.split(","))
            assert chart.left <= x <= chart.right
            assert 0 <= y <= chart.bottom + 0.05
    labels = sorted(line.label_y for line in chart.lines)
    assert (np.diff(labels) >= LABEL_GAP - 1e-6).all()
    assert 0 <= labels[0] <= labels[-1] <= chart.bottom
    assert len({tick.text for tick in chart.up}) == len(chart.up), "no two ticks read the same"


def test_nothing_at_all_is_a_flat_line() -> None:
    chart = line_chart({"a": [0.0, 0.0]}, ["x", "y"])
    assert {point.split(",")[1] for point in chart.lines[0].points.split()} == {str(chart.zero_y)}
    assert bar_chart({"a": {"storage": 0.0}}, ["storage"]).bars[0].segments == []


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    chart = bar_chart({"a": {"x": 1.0, "y": 3.0}, "bb": {"x": 2.0, "y": 0.0}}, ["x", "y"])
    widths = {(bar.name, each.part): each.width for bar in chart.bars for each in bar.segments}
    assert widths["a", "y"] == pytest.approx(3 * widths["a", "x"], rel=0.01)
    assert widths["bb", "x"] == pytest.approx(2 * widths["a", "x"], rel=0.01)
    assert ("bb", "y") not in widths


def test_amounts() -> None:
    assert [usd(value) for value in (0, 12345.6, 12.345, 0.5, 0.00123456, 0.00001, -3.0, -12345)] == [
        "0", "12,346", "12.35", "0.5", "0.00123", "<0.0001", "-3.00", "-12,345",
    ]  # fmt: skip
    assert [amount_of_bytes(value) for value in (0, 999, 1000, 1.5e9, 2e18)] == [
        "0 B", "999 B", "1.0 KB", "1.5 GB", "2,000.0 PB",
    ]  # fmt: skip


@pytest.mark.server
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_a_word_or_a_request(told: Tally, tmp_path: Path, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(report(told, _story(NASTY)), "utf-8")
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        for width in (1400, 400):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"wider than {width}"
        shown = page.evaluate(
            """() => {
                const light = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0);
                const style = getComputedStyle(document.body);
                const drawn = [...document.querySelectorAll('polyline')].map((each) => each.getBBox().width);
                return [light(style.backgroundColor), light(style.color), Math.min(...drawn)];
            }"""
        )
        browser.close()
    assert said == []
    assert asked == [path.as_uri()] * 2
    background, ink, width_drawn = shown
    assert (background > ink) == (scheme == "light")
    assert width_drawn > 100
