"""The pixels of a picture of a report."""

import io
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import vl_convert

# The fonts that matplotlib lays text out in.
vl_convert.register_font_directory(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf"))


def pixels_of(folder: Path, name: str) -> np.ndarray:
    """Pixels [height, width, 4] of a picture, from 0 to 1, whichever kind of file it is; an SVG as resvg draws it."""
    drawn = folder / f"{name}.svg"
    if not drawn.is_file():
        return matplotlib.image.imread(folder / f"{name}.png")
    content = vl_convert.svg_to_png(drawn.read_text(encoding="utf-8"), scale=1.5)
    pixels: np.ndarray = matplotlib.image.imread(io.BytesIO(content), format="png")
    return pixels
