"""Mistakes of whoever typed a command, in one line that says what to do (SPEC 13)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class Misused(click.ClickException):
    """A usage error; ends with exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the one line."""
        click.echo(f"quantum-trader: {self.format_message()}", file=file, err=file is None)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn click's four lines into one; a group without a command goes on printing its help."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as wrong:
        raise Misused(_in_words(wrong)) from None


def _in_words(wrong: click.UsageError) -> str:
    """Return ``submit: missing option '--symbol'; see `quantum-trader submit --help```."""
    words = " ".join(wrong.format_message().split()).rstrip(".")
    path = wrong.ctx.command_path.split()[1:] if wrong.ctx is not None else []
    where = f"{' '.join(path)}: " if path else ""
    return f"{where}{words[:1].lower()}{words[1:]}; see `{' '.join(['quantum-trader', *path, '--help'])}`"
