import json
import re
import resource
from html.parser import HTMLParser

import pytest

from data.errors import DataError
from pipeline.reports.document import Card, Column, Figure, Listing, Note, Prose, Report, Section, Table, format_value
from pipeline.reports.figures import figure_svg, new_figure
from pipeline.reports.markdown import markdown_table, render_markdown
from pipeline.reports.page import render_page
from pipeline.reports.writing import render_json, write_report


def line_svg(name: str, values: tuple[float, ...] = (0.7, 0.5, 0.4)) -> str:
    figure, axes = new_figure()
    axes.plot(range(len(values)), values, label="train")
    axes.fill_between(range(len(values)), 0, values)
    axes.set_xlabel("step")
    axes.legend()
    return figure_svg(figure, name)


def a_report() -> Report:
    loss = Figure(
        name="loss", svg=line_svg("loss"), alt="The loss falls from 0.7 to 0.4.", caption="Loss", data={"y": (0.7, 0.4)}
    )
    auc = Figure(name="auc", svg=line_svg("auc"), alt="The AUC rises.", caption="AUC")
    plan = Table(
        columns=[Column(title="table"), Column(title="size (GiB)", spec=".2f"), Column(title="rows")],
        rows=[["C1|a", 1.2345, 40_000_000], ["<C2>", None, 3]],
        caption="Tables",
        highlighted_rows=(1,),
    )
    return Report(
        title="Run <demo>",
        subtitle="on `cpu`",
        cards=[Card(label="test AUC", value="0.7912", note="of 0.80")],
        sections=[
            Section(
                title="Learning",
                blocks=[Prose("One.\n\n**Two** & `three`."), Note("Random labels.", "warning"), loss, auc],
            ),
            Section(title="Plan", blocks=[plan, Listing("make train", "Command")]),
        ],
        provenance={"seed": "7"},
        results={"test/auc": 0.7912, "test/ne": float("nan")},
    )


class Outline(HTMLParser):
    """Collects ids, addresses and unbalanced elements of a page."""

    VOID = frozenset({"meta", "link", "br", "hr", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.addresses += [found[key] or "" for key in ("src", "href", "xlink:href") if key in found]
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = self.open[:-1] if tag not in self.VOID else self.open

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_balanced_and_asks_the_network_for_nothing():
    page = Outline(render_page(a_report()))
    assert page.open == []
    assert [address for address in page.addresses if not address.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\((?!#)", render_page(a_report()))


def test_ids_are_unique_though_two_drawings_are_alike():
    page = Outline(render_page(a_report()))
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_page_escapes_what_it_is_given():
    html = render_page(a_report())
    assert "Run &lt;demo&gt;" in html
    assert "&lt;C2&gt;" in html
    assert "<strong>Two</strong> &amp; <code>three</code>." in html


def test_figures_say_in_words_what_they_show():
    html = render_page(a_report())
    assert 'role="img" aria-label="The loss falls from 0.7 to 0.4."' in html
    assert "The loss falls from 0.7 to 0.4." in render_markdown(a_report())


def test_drawing_is_the_same_for_the_same_numbers_and_keeps_its_text():
    assert line_svg("loss") == line_svg("loss")
    assert line_svg("loss") != line_svg("loss", (0.7, 0.5, 0.1))
    assert re.search(r"<text[^>]*>step</text>", line_svg("loss"))
    assert "<metadata>" not in line_svg("loss")


def test_markdown_table_aligns_numbers_and_escapes_bars():
    columns = [Column(title="table"), Column(title="GiB", spec=".1f")]
    lines = markdown_table(Table(columns=columns, rows=[["C1|a", 1.25], ["C2", None]], highlighted_rows=(1,))).split(
        "\n"
    )
    assert lines == ["| table | GiB |", "| --- | ---: |", "| C1\\|a | 1.2 |", "| **C2** | **\N{EN DASH}** |"]


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (1234567, "", "1,234,567"),
        (0.123456, "", "0.1235"),
        (0.5, ".0%", "50%"),
        (True, "", "yes"),
        (float("inf"), ".2f", "\N{EN DASH}"),
    ],
)
def test_values_are_written_for_readers(value, spec, text):
    assert format_value(value, spec) == text


def test_json_keeps_raw_values_and_has_no_not_a_number():
    document = json.loads(render_json(a_report()))
    assert document["results"] == {"test/auc": 0.7912, "test/ne": None}
    assert document["sections"][1]["blocks"][0]["rows"] == [["C1|a", 1.2345, 40_000_000], ["<C2>", None, 3]]
    assert document["sections"][0]["blocks"][2]["data"] == {"y": [0.7, 0.4]}
    assert "<svg" not in render_json(a_report())


def test_report_is_written_in_three_forms_and_nothing_else(tmp_path):
    path = write_report(tmp_path / "run", a_report())
    assert path == tmp_path / "run" / "report.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.json", "report.md"]


def test_disk_that_fills_up_leaves_the_old_report(tmp_path):
    write_report(tmp_path, a_report())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))  # the page is longer than this, so writing it fails
    try:
        with pytest.raises(DataError, match="cannot be written"):
            write_report(tmp_path, Report(title="another"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
