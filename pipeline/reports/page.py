"""The HTML form of a report: one file with its style and its drawings inside, which asks the network for nothing."""

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.reports.document import Report, format_value, is_numeric

_MARKS = ((re.compile(r"`([^`]+)`"), r"<code>\1</code>"), (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"))


def _inline(text: str) -> Markup:
    """The text, escaped, with `code` and **strong** turned into elements."""
    html = str(escape(text))
    for pattern, element in _MARKS:
        html = pattern.sub(element, html)
    return Markup(html)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _environment() -> Environment:
    loader = PackageLoader("pipeline.reports", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(inline=_inline, paragraphs=_paragraphs, slug=_slug, safe_svg=Markup)
    environment.globals.update(format_value=format_value, is_numeric=is_numeric)
    return environment


def render_page(report: Report) -> str:
    """The report as one self-contained HTML page: readable at phone and desktop width, and on paper."""
    return _environment().get_template("page.html.jinja").render(report=report)
