"""The page in headless Chromium, from a file, as a reader has it."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from analysis.report import write_report
from tests.analysis.test_page import PLAN, Page
from tests.analysis.test_strangers import LINES, TEXT, results
from tests.page_data import held
from tests.simulated import write_study

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is on the path"),
]

LISTEN = """<script>
window.wrong = [];
addEventListener("error", event => wrong.push(event.message));
addEventListener("unhandledrejection", event => wrong.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", event => wrong.push(event.blockedURI));
</script>"""
ACT = """<script>
const cells = document.getElementById("cells"), told = {};
const column = name => [...cells.tHead.rows[0].cells].findIndex(head => head.textContent === name);
const keys = name => [...cells.tBodies[0].rows].map(row => key(row, column(name)));
const press = name => cells.tHead.rows[0].cells[column(name)].querySelector("button")?.click();
press("story"); told.up = keys("story"); press("story"); told.down = keys("story");
told.sorted = cells.tHead.rows[0].cells[column("story")].getAttribute("aria-sort");
press("layer"); told.layers = keys("layer");
// Without a screen nothing comes into view.
if (wide) for (const figure of document.querySelectorAll("figure[data-chart]")) show(figure, true);
const box = cells.parentNode, ground = () => getComputedStyle(document.documentElement).backgroundColor;
told.grounds = [ground()]; scheme.click(); told.grounds.push(ground()); scheme.click(); told.grounds.push(ground());
addEventListener("load", () => setTimeout(async () => {
  const shown = [...document.querySelectorAll("figure[data-chart]")].filter(f => f.querySelector(".chart svg"));
  told.drawn = shown.map(figure => figure.dataset.chart);
  told.marks = shown.map(figure => figure.querySelectorAll(".chart svg [aria-roledescription]").length);
  told.wide = document.documentElement.scrollWidth <= innerWidth;
  told.links = [...document.querySelectorAll("a[download]")].map(link => link.href.split("/")[0]);
  told.depth = table(await data, "depth");
  box.style.maxHeight = "100px";
  box.scrollTo(60, 60);
  const place = element => element.getBoundingClientRect();
  told.scrolled = [box.scrollLeft, box.scrollTop];
  told.aside = place(cells.tBodies[0].rows[3].cells[0]).left - place(box).left;
  told.below = place(cells.tHead.rows[0].cells[0]).top - place(box).top;
  told.wrong = wrong;
  told.strange = document.title === "strange";
  document.body.append(make("pre", {id: "told", textContent: JSON.stringify(told)}));
}, 5000));
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("browser")
    return _watched(write_study(tmp / "results" / "study", PLAN), tmp)


def _watched(results: Path, tmp: Path) -> Path:
    """The page of a report, alone in its folder, that tells what happens in it."""
    write_report(results, tmp / "study.md")
    head, rest = (tmp / "study.html").read_text().split("<title>", maxsplit=1)
    for script in (LISTEN, ACT):
        text = script.removeprefix("<script>").removesuffix("</script>").encode()
        head = head.replace("script-src", f"script-src 'sha256-{b64encode(sha256(text).digest()).decode()}'")
    body, end = rest.rsplit("</body>", maxsplit=1)
    (tmp / "watched.html").write_text(f"{head}{LISTEN}<title>{body}{ACT}</body>{end}")
    # Nothing but the page itself is there.
    shutil.rmtree(tmp / "study")
    return tmp / "watched.html"


def _open(page: Path, width: int) -> dict[str, Any]:
    """What the page tells of itself in a window that is tall enough for all of it."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000", "--dump-dom"]
    command = [str(BROWSER), *options, f"--window-size={width},30000", page.as_uri()]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'<pre id="told">(.*?)</pre>', text)
    assert found is not None
    told: dict[str, Any] = json.loads(unescape(found[1]))
    return told


@pytest.fixture(scope="module")
def told(page: Path) -> dict[str, Any]:
    return _open(page, 1400)


def test_nothing_goes_wrong_and_nothing_is_asked_of_a_network(told: dict[str, Any]) -> None:
    assert told["wrong"] == []


def test_a_script_that_is_not_the_page_s_own_does_not_run(page: Path, told: dict[str, Any]) -> None:
    strange = """<script>document.title = "strange"</script><img src="data:," onerror="document.title = 'strange'">"""
    invaded = page.with_name("invaded.html")
    invaded.write_text(page.read_text().replace("</main>", f"{strange}</main>"))
    assert _open(invaded, 1400) == {**told, "wrong": ["inline", "inline"]}
    assert told["strange"] is False


def test_the_page_of_a_stranger_s_study_works_as_any(tmp_path: Path) -> None:
    hostile = ("=1+1/<b>x<b>", "NA/null")
    page = _watched(results(tmp_path / "results" / "hostile", hostile, TEXT, LINES), tmp_path)
    told = _open(page, 1400)
    assert told["wrong"] == []
    assert not told["strange"]
    charts = re.findall(r'data-chart="([^"]+)"', page.read_text())
    assert told["drawn"] == charts == ["depth", "order", "lens", "cost"]
    assert min(told["marks"]) > 5


def test_every_chart_is_drawn(told: dict[str, Any], page: Path) -> None:
    assert told["drawn"] == re.findall(r'data-chart="([^"]+)"', page.read_text())
    assert min(told["marks"]) > 10


def test_a_column_sorts_by_its_numbers_up_and_down(told: dict[str, Any]) -> None:
    numbers = [float(key) for key in told["up"] if key != "failed"]
    assert len(numbers) == 7
    assert numbers == sorted(numbers)
    assert [key for key in told["down"] if key != "failed"] == [key for key in reversed(told["up"]) if key != "failed"]
    assert told["sorted"] == "descending"
    assert told["layers"] == sorted(told["layers"], key=float)


def test_links_to_data_need_no_file_beside_the_page(told: dict[str, Any]) -> None:
    assert len(told["links"]) > 5
    assert set(told["links"]) == {"blob:null"}


def test_what_is_compressed_is_what_it_was(told: dict[str, Any], page: Path) -> None:
    tables, _ = held(Page(page.read_text()).scripts["data"])
    assert told["depth"] == tables["depth"]
    assert told["depth"].count("\n") > 10


def test_the_switch_leads_to_the_other_scheme_and_back(told: dict[str, Any]) -> None:
    light, dark, again = told["grounds"]
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 24, 27)")
    assert again == light


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Path) -> None:
    told = _open(page, 390)
    assert told["wide"]
    assert told["wrong"] == []
    assert told["drawn"] == []
    # The table of cells moves within itself, while its head and what names a row stay where they are.
    assert told["scrolled"] == [60, 60]
    assert (told["aside"], told["below"]) == (0, 0)
