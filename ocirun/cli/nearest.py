"""What somebody may have meant who has misspelt a word. Loaded when a command line is wrong."""

from __future__ import annotations

from difflib import get_close_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def offer(word: str, words: Iterable[str], dashes: str = "") -> str:
    """The end of an error, "; did you mean create?", or nothing where no word is near.

    :param dashes: before each word
    """
    found = get_close_matches(word, words, n=1)
    return f"; did you mean {dashes}{found[0]}?" if found else ""
