"""Tables of the commands: as wide as the window on a terminal, and whole where the output goes to a file or a pipe."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    least: Sequence[str] = (),
    elsewhere: str = "",
) -> None:
    """Print a table. Where it is wider than the window, columns of `least` are left out, the first of them first, until
    it fits; a line then says which, and that a wider window shows them, or what is `elsewhere`."""
    left_out = list[str]()
    table = whole = _table(columns, rows, left_out)
    for name in least:
        if _width(console, table) <= console.width:
            break
        left_out.append(name)
        table = _table(columns, rows, left_out)
    console.print(table)
    if left_out:
        wider = f"a window of {_width(console, whole)} columns shows them, or {elsewhere}"
        console.print(f"not shown: {', '.join(left_out)} ({wider})", markup=False)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], left_out: Sequence[str]) -> Table:
    places = [place for place, name in enumerate(columns) if name not in left_out]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place in places:
        table.add_column(columns[place], overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell := row[place], Text) else Text(cell) for place in places))
    return table


def _width(console: Console, table: Table) -> int:
    """Return the columns that a table takes where no cell is wrapped."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum
