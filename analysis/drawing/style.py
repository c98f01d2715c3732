"""Colours, markers and lines that several pictures share, whichever renderer draws them."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#A89C00")
"""Those of Okabe and Ito without black, which a dark page hides; their yellow is darkened, which a light one hides."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One more than there are colours: where both start again, their combinations do not."""
LINES = ("-", "--", ":", "-.")
NEUTRAL = "#7F7F7F"
"""Of what belongs to no series; it stands out from white and from black."""
MISSING = "#D9D9D9"
DIVERGING = "RdBu_r"
DEPTH_LABEL = "relative depth of the trained layer"


def colour(index: int) -> str:
    """Return the colour of the index-th of several series."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """Return the marker of the index-th of several series."""
    return MARKERS[index % len(MARKERS)]


def line(index: int) -> str:
    """Return how the lines of the index-th of several series are dashed."""
    return LINES[index % len(LINES)]
