"""Templates of pages in Markdown."""

import functools
import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2


def rendered(names: Sequence[str], page: Any) -> str:
    """The page, by the first of these templates that there is.

    Args:
        names: of templates, relative to `optoscope/report`.
        page: what the template calls `page`.
    """
    return _environment().select_template(list(names)).render(page=page)


@functools.cache
def _environment() -> jinja2.Environment:
    """One for all pages, so that what several of them include is compiled once."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, from our own templates
    )


def _template(name: str) -> str | None:
    path = importlib.resources.files("optoscope.report") / name
    return path.read_text(encoding="utf-8") if path.is_file() else None
