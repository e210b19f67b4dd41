"""A tool with a side effect that a test can count."""

import os
from pathlib import Path


def note(text: str) -> str:
    """Write a note down."""
    with Path(os.environ["NOTES"]).open("a", encoding="utf-8") as notes:
        notes.write(f"{text}\n")
    return "noted"
