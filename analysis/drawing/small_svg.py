"""Makes matplotlib's SVG small: the same picture from a fraction of the bytes, with its words as text."""

import re
from collections import Counter
from xml.etree import ElementTree

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", LINK)

FONTS = "DejaVu Sans,Verdana,sans-serif"
"""matplotlib lays text out in the first; the second is as wide, and what stands in for both is narrower."""
NUMBER = re.compile(r"-?\d+\.\d+")
COORDINATES = ("d", "x", "y", "width", "height", "points", "transform")
NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)")
FAMILY = re.compile(r"font-family: [^;]*(?:; )?")
SIZE = re.compile(r"font-size: ([^;]*)(?:; )?")
OPACITY = re.compile(r"(?:^|;)opacity")
"""What is not inherited: half a group's opacity is not that of each of its parts."""


def small(drawing: bytes) -> bytes:
    """Return the picture without what does not show: hundredths of a point are kept, and names of what is linked to."""
    root = ElementTree.fromstring(drawing)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    size = _set_fonts(root)
    for element in root.iter():
        _shorten(element)
    _flatten(root)
    root.set("style", f"font:{size} {FONTS}")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, "unicode")}'.encode()


def _set_fonts(root: ElementTree.Element) -> str:
    """Take the font away from every text, and the size from those that have the most frequent one; return that."""
    texts = [element for element in root.iter() if "font-size" in element.get("style", "")]
    sizes = Counter(SIZE.findall(element.get("style", ""))[0] for element in texts)
    common = max(sizes, key=lambda size: (sizes[size], size), default="9px")
    for element in texts:
        style = FAMILY.sub("", element.get("style", "")).replace("text-anchor: start", "")
        if f"font-size: {common}" in style:
            style = SIZE.sub("", style)
        element.set("style", style.removesuffix("; "))
    return common


def _shorten(element: ElementTree.Element) -> None:
    """Round coordinates, and drop white space, names of groups, and attributes that say nothing."""
    if not (element.text or "").strip():
        element.text = None
    if not (element.tail or "").strip():
        element.tail = None
    if element.tag == f"{{{SVG}}}g":
        element.attrib.pop("id", None)
    for name in COORDINATES:
        if (value := element.get(name)) and "matrix" not in value:
            element.set(name, NUMBER.sub(_rounded, value))
    if path := element.get("d"):
        element.set("d", re.sub(r"\s*([A-Za-z])\s*", r"\1", path).strip())
    if turn := element.get("transform"):
        element.set("transform", NO_TURN.sub("", turn))
    if style := element.get("style"):
        element.set("style", style.replace("; ", ";").replace(": ", ":"))
    for name in ("style", "transform"):
        if element.get(name) == "":
            del element.attrib[name]


def _rounded(number: re.Match[str]) -> str:
    short = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _flatten(element: ElementTree.Element) -> None:
    """Let a group whose marks look alike say so once, and put in the place of one that says nothing what it holds."""
    children: list[ElementTree.Element] = []
    for child in element:
        _flatten(child)
        children += list(child) if child.tag == f"{{{SVG}}}g" and not child.attrib else [child]
    element[:] = children
    looks = {(child.tag, child.get("style", "")) for child in children}
    if element.tag != f"{{{SVG}}}g" or "style" in element.attrib or len(children) < 2 or len(looks) > 1:
        return
    (tag, style) = looks.pop()
    if tag == f"{{{SVG}}}use" and not OPACITY.search(style):
        element.set("style", style)
        for child in children:
            child.attrib.pop("style", None)
