"""What is left out of a drawing, and what is not."""

import re

from analysis.drawing.small_svg import small

START = b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">'


def _small(content: str) -> str:
    text = small(START + content.encode() + b"</svg>").decode()
    return re.sub(r".*?<svg[^>]*>", "", text, flags=re.DOTALL).removesuffix("</svg>").replace(" />", "/>")


def test_coordinates_have_two_digits_and_words_stay_as_they_are() -> None:
    assert _small('<path d="M 1.23456 -0.001 \nL 2 3.999 \nz\n"/>') == '<path d="M1.23 0L2 4z"/>'
    style = "font-size: 9px; font-family: 'DejaVu Sans'; text-anchor: middle"
    text = f'<text style="{style}" x="1.2345" transform="rotate(-0 1.2345 2)">p 0.12345  &lt;b&gt;</text>'
    assert _small(text) == '<text style="text-anchor:middle" x="1.23">p 0.12345  &lt;b&gt;</text>'


def test_the_most_frequent_size_is_said_once() -> None:
    texts = [f"<text style=\"font-size: {size}px; font-family: 'DejaVu Sans'\">x</text>" for size in (8, 9, 9)]
    assert _small("".join(texts)) == '<text style="font-size:8px">x</text><text>x</text><text>x</text>'
    assert b'style="font:9px DejaVu Sans,Verdana,sans-serif"' in small(START + "".join(texts).encode() + b"</svg>")


def test_marks_that_look_alike_say_so_once_but_for_what_is_not_inherited() -> None:
    def marks(style: str) -> str:
        return f'<g id="line2d_1"><g clip-path="url(#p)">{2 * f"""<use xlink:href="#m" style="{style}"/>"""}</g></g>'

    alike = _small(marks("fill: #000000; fill-opacity: 0.5"))
    assert (
        alike == f'<g clip-path="url(#p)" style="fill:#000000;fill-opacity:0.5">{2 * """<use xlink:href="#m"/>"""}</g>'
    )
    assert _small(marks("fill: #000000; opacity: 0.5")).count("opacity:0.5") == 2
