"""Takes the pictures of docs/cluster.md and docs/running.md while a study of 100 cells runs on this machine.

`make screenshots` runs it, with Playwright in an environment of its own. It needs Chromium and tmux.
"""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
COMMAND = HERE.parent / ".venv/bin"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SESSION = "screenshots"
STUDY = """name: hundred-cells
models: [tiny-llama]
grid:
  layers: all
  pairs:
    - {multiply: multiply, add: add}
    - {multiply: river, add: copper}
    - {multiply: copper, add: river}
    - {multiply: add, add: multiply}
    - {multiply: multiply, add: copper}
  weights: [0, 0.1, 0.3, 0.5, 0.7, 0.9]
stage2: {steps: 300}
ray: {stack: 4}
"""
"""100 cells with a class loss."""
ENOUGH = 0.3
"""Share of the units that have ended when the pictures are taken."""
COLUMNS, LINES = 80, 24
SECONDS = 600
SETTLED = 3000
"""Milliseconds after which the dashboard moves no more."""


def main() -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or shutil.which("tmux") is None:
        print(f"tmux and one of {', '.join(BROWSERS)} are needed", file=sys.stderr)
        return 2
    with TemporaryDirectory() as place:
        # The pictures show the command, and no folder of this machine.
        (Path(place) / ".venv").symlink_to(HERE.parent / ".venv")
        (Path(place) / "hundred-cells.yaml").write_text(STUDY)
        shutil.copy(HERE.parent / "configs/models.yaml", place)
        results = Path(place) / "results/hundred-cells"
        running = f"cd {place}; .venv/bin/python -m study.grid hundred-cells.yaml; sleep {SECONDS}"
        _tmux("new-session", "-d", "-s", SESSION, "-x", str(COLUMNS), "-y", str(LINES), running)
        try:
            _take(browser, results)
        finally:
            _tmux("kill-session", "-t", SESSION)
    return 0


def _take(browser: str, results: Path) -> None:
    _wait(results)
    terminal = _tmux("capture-pane", "-e", "-p", "-t", SESSION)
    status = subprocess.run(
        [COMMAND / "study", "status", results],
        env={**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,  # its code says that something runs
    ).stdout
    everything = _tmux("capture-pane", "-p", "-J", "-S", "-100", "-t", SESSION)
    address = re.findall(r"study\s+dashboard\s+(http://\S+)", everything)[0]
    told = subprocess.check_output([COMMAND / "study", "dashboard", address, "--no-browser"], text=True)
    token = re.findall(r"token: (\S+)", told)[0]
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        _dashboard(page, address, token)
        for name, text in (("terminal", terminal), ("status", status)):
            shown = text.replace(f"{results.parent.parent}/", "").replace(socket.gethostname(), "this-machine")
            _drawn(page, shown, HERE / f"{name}.png")
        chromium.close()


def _wait(results: Path) -> None:
    """Wait until enough units have ended."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        told = subprocess.run([COMMAND / "study", "status", "--json", results], capture_output=True, text=True)
        if told.stdout:
            units = json.loads(told.stdout)["units"]
            ended = sum(unit["state"] in ("done", "failed", "skipped") for unit in units)
            if ended >= ENOUGH * len(units):
                return
        time.sleep(5)
    raise TimeoutError(f"the study did not come so far in {SECONDS} s: {told.stderr}")


def _dashboard(page: Page, address: str, token: str) -> None:
    """Take the question for the token, and the table of tasks of the study's job."""
    page.goto(address)
    asked = page.get_by_placeholder("Enter your authentication token")
    asked.wait_for()
    page.wait_for_timeout(SETTLED)
    page.get_by_role("dialog").screenshot(path=HERE / "token.png")
    asked.fill(token)
    asked.press("Enter")
    asked.wait_for(state="hidden")
    page.goto(f"{address}/#/jobs")
    page.get_by_role("link", name=re.compile("^[0-9]{8}$")).first.click()
    heading = page.get_by_text("Task Table", exact=True)
    heading.wait_for()
    page.wait_for_timeout(SETTLED)
    heading.click()
    page.get_by_text("tiny-llama|").first.wait_for()
    page.wait_for_timeout(SETTLED)
    heading.evaluate("heading => { heading.scrollIntoView(); scrollBy(0, -110) }")  # below the bar at the top
    page.wait_for_timeout(SETTLED)
    page.screenshot(path=HERE / "dashboard.png")


def _drawn(page: Page, text: str, file: Path) -> None:
    """Draw the text of a terminal, with its colours."""
    console = Console(record=True, width=COLUMNS + 20, file=io.StringIO())
    console.print(Text.from_ansi(text.rstrip()))
    page.set_content(console.export_html(inline_styles=True, theme=MONOKAI))
    page.add_style_tag(content="pre { display: inline-block; padding: 12px; background: #0c0c0c; color: #d9d9d9 }")
    page.locator("pre").screenshot(path=file)


def _tmux(*arguments: str) -> str:
    return subprocess.check_output(["tmux", *arguments], text=True)


if __name__ == "__main__":
    sys.exit(main())
