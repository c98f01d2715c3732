"""README.md and docs/: links that lead somewhere, commands that exist, and the table of folders beside the code."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import pytest
import yaml

from study.commands import COMMANDS
from tests.command_help import OPTION, every_command, options_of, subcommands

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^|(?<=[ /]))study(\.grid)?((?: .*)?)$")
"""A command of the program to the end of its line: with `.grid` it is `run`."""
of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", page.read_text())


def shell(page: Path) -> Iterator[str]:
    """What stands in a page to be typed: lines of blocks without a language, and pieces of code in the text."""
    for _, language, block in FENCED.findall(page.read_text()):
        if not language:
            yield from (line.partition(" #")[0].strip() for line in block.splitlines())
    yield from re.findall(r"`([^`]+)`", " ".join(prose(page).split()))


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Each command of the program that a page names, and what follows it."""
    for typed in shell(page):
        if found := COMMAND.search(typed):
            name, _, rest = found[2].strip().partition(" ")
            if found[1]:
                yield "run", found[2]
            elif re.fullmatch("[a-z]+", name):
                yield name, rest


def anchors(page: Path) -> set[str]:
    """The names by which GitHub links a page's headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@of_each_page
def test_links_and_pictures_exist(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@of_each_page
def test_commands_exist_and_have_the_options_that_they_are_shown_with(page: Path) -> None:
    for name, rest in commands(page):
        assert name in COMMANDS, f"study {name}"
        words = [name]
        if subcommands(name) and rest:
            words.append(rest.split()[0])
            assert words[1] in subcommands(name), f"study {name} {rest}"
        assert set(OPTION.findall(rest)) <= options_of(*words), f"study {name} {rest}"


@of_each_page
def test_an_option_that_is_named_alone_is_one_of_some_command(page: Path) -> None:
    known = set().union(*(options_of(*words) for words in every_command()))
    alone = {typed.split()[0] for typed in shell(page) if typed.startswith("--")}
    assert alone <= known


def test_commands_are_found_in_the_pages() -> None:
    found = {name for page in PAGES for name, _ in commands(page)}
    assert found == set(COMMANDS)


def test_the_index_lists_every_page_once() -> None:
    listed = re.findall(r"^- \[[\w-]+\.md\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in PAGES[1:] if page.name != "README.md")


@pytest.mark.parametrize("page", ["README.md", "docs/study-file.md"])
def test_the_study_that_is_shown_is_the_one_that_make_smoke_runs(page: str) -> None:
    shown = next(block for _, language, block in FENCED.findall((ROOT / page).read_text()) if language == "yaml")
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_lines_of_python_work_as_they_are_printed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    blocks = [block for _, language, block in FENCED.findall((ROOT / page).read_text()) if language == "python"]
    assert blocks
    for block in blocks:
        exec(block, {})
    assert len(list(Path("results/smoke/cells").iterdir())) == 1


def folders_by_layer() -> list[set[str]]:
    """The folders of modules in each layer of pyproject.toml, from the highest; a module stands for its folder, which
    counts where it is first met."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = next(c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    found: list[set[str]] = []
    for layer in layers:
        paths = [ROOT.joinpath(*name.strip().split(".")) for name in re.split(r"[|:]", layer)]
        tops = [path if path.is_dir() else path.parent for path in paths]
        modules = [file for top, path in zip(tops, paths, strict=True) if path.is_dir() for file in top.rglob("*.py")]
        folders = {str(folder.relative_to(ROOT)) for folder in [*tops, *(file.parent for file in modules)]}
        found.append(folders.difference(*found))
    return found


def table_of_folders() -> list[tuple[int, str]]:
    """The rows of the table in docs/code.md: layer and folder."""
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|", (DOCS / "code.md").read_text(), re.MULTILINE)
    return [(int(layer), folder) for layer, folder in rows]


def test_every_folder_of_the_code_is_once_in_its_table_in_the_order_of_the_layers() -> None:
    expected = [(number, folder) for number, layer in enumerate(folders_by_layer(), 1) for folder in sorted(layer)]
    rows = table_of_folders()
    assert sorted(rows) == sorted(expected)
    assert all(above[0] <= below[0] for above, below in pairwise(rows))


def test_the_layers_hold_every_folder_that_has_modules() -> None:
    modules = [file for top in ("study", "actors", "analysis") for file in (ROOT / top).rglob("*.py")]
    assert {str(file.parent.relative_to(ROOT)) for file in modules} == set().union(*folders_by_layer())
