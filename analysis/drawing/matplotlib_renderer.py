"""Draws the pictures of a report with matplotlib, as SVG or, where that would be large, as PNG."""

import io
import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analysis.data.files import table_file, write_file
from analysis.drawing.axes import DPI, STYLE
from analysis.drawing.description import Drawing, Picture
from analysis.drawing.matplotlib_chart import draw
from analysis.drawing.small_svg import small

CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that names may have and XML may not."""
COLOURS = 128
"""Of a PNG."""
LARGEST_SVG = 200_000
"""Bytes of an SVG above which a picture, of some thousand marks, is a PNG."""


def save(picture: Picture, folder: Path) -> tuple[str, str]:
    """Write the picture, and its data as a table; return the names of both files.

    Raises ResultsError where its name is none of a file.
    """
    with mpl.rc_context(STYLE):
        figure = picture.draw() if isinstance(picture, Drawing) else draw(picture)
        _take_literally(figure)
        drawn, suffix = io.BytesIO(), ".svg"
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})  # type: ignore[no-untyped-call]
        content = small(CONTROL.sub(b"?", drawn.getvalue()))
        if len(content) > LARGEST_SVG:
            drawn, suffix = io.BytesIO(), ".png"
            figure.set_dpi(DPI)  # an SVG has set it to its own
            FigureCanvasAgg(figure).print_png(drawn)  # type: ignore[no-untyped-call]
            content = _of_few_colours(drawn)
    write_file(folder, picture.name, suffix, content)
    kind, rows = table_file(picture.data)
    write_file(folder, picture.name, kind, rows)
    return picture.name + suffix, picture.name + kind


def _of_few_colours(png: io.BytesIO) -> bytes:
    """The picture with a palette, which is a third of the bytes: it has few colours, and shades between them."""
    smaller = io.BytesIO()
    picture = Image.open(png).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def _take_literally(figure: Figure) -> None:
    """Let no name with dollar signs be read as a formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
