"""The built-in tool `current_time`."""

from datetime import datetime
from zoneinfo import ZoneInfo

from agentic_fleet.workflows.tools.spec import ToolFailed


async def current_time(timezone: str = "UTC") -> str:
    """Tell the current date and time in a time zone, such as "Europe/Berlin" or "UTC"."""
    try:
        zone = ZoneInfo(timezone)
    except (LookupError, ValueError, OSError):  # unknown; not a name; a folder of the database
        raise ToolFailed(f"There is no time zone {timezone!r}: it must be a name like Europe/Berlin.") from None
    return datetime.now(zone).strftime("%A, %Y-%m-%d %H:%M:%S %Z (UTC%z)")
