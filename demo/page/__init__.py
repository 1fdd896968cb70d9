"""The report as one HTML file: a pure function of the summary."""

from demo.page.document import document, drawing

__all__ = ["document", "drawing"]
