"""`python -m agentic_fleet COMMAND`: one name for everything that is typed; each command is a module of its own."""

import argparse
import importlib
import io
import signal
import sys
from pathlib import Path

from agentic_fleet import __version__

COMMANDS = {
    "serve": ("agentic_fleet.cli.serve", "run the service"),
    "ask": ("agentic_fleet.cli.ask", "ask the team one question and watch it at work"),
    "agents": ("agentic_fleet.cli.agents", "who is on the team"),
    "runs": ("agentic_fleet.cli.runs", "list, show, watch, cancel and resume runs"),
    "history": ("agentic_fleet.cli.history", "what runs did"),
    "health": ("agentic_fleet.cli.health", "what works and what does not"),
    "practice": ("agentic_fleet.cli.practice", "run the practice tasks, with feedback to learn from"),
    "optimize": ("agentic_fleet.learning.improvement", "make the decision programs better from examples"),
    "evaluate": ("agentic_fleet.learning.evaluation", "measure the decision programs on labelled tasks"),
}
"""Name to its module, which has a `main` that reads sys.argv, and to what it is for."""


def available() -> dict[str, tuple[str, str]]:
    """The commands that this version has."""
    root = Path(__file__).parent.parent  # asking importlib would import the packages above, which takes a second
    return {
        name: (module, words)
        for name, (module, words) in COMMANDS.items()
        if root.joinpath(*module.split(".")).with_suffix(".py").is_file()
    }


def main() -> int:
    """The exit code of the command; its `--help` says what each means. 2 for a command that there is not."""
    commands = available()
    about = "\n".join(f"  {name:10}{words}" for name, (_, words) in commands.items())
    parser = argparse.ArgumentParser(
        prog="python -m agentic_fleet",
        usage="%(prog)s COMMAND ...",
        description=f"{about}\n\n%(prog)s COMMAND --help tells all about one.",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"AgenticFleet {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=commands, help=argparse.SUPPRESS)
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv[:2] = [f"python -m agentic_fleet {command}"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="replace")  # what models say does not fit every locale
    try:
        outcome: int = importlib.import_module(commands[command][0]).main()
    except KeyboardInterrupt:  # while it was still being imported: what commands do they end themselves
        return 128 + signal.SIGINT
    return outcome


if __name__ == "__main__":
    sys.exit(main())
