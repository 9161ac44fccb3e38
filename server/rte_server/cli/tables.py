"""Tables: drawn in a terminal, columns separated by tabs elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

import typer


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], is_number: Callable[[str], bool] = lambda _: False
) -> None:
    """Print a table.

    Args:
        columns: Titles.
        rows: Texts, as many as titles each.
        is_number: Says of a title whether its column holds numbers, which stand at its right.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for at, column in enumerate(columns):
        last = at == len(columns) - 1
        table.add_column(column, justify="right" if is_number(column) else "left", no_wrap=not last)
    for row in rows:
        # Text: what comes from outside is no markup.
        table.add_row(*map(Text, row))
    Console().print(table)
