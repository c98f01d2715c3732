"""`study dashboard`: open Ray's dashboard of a run on this machine, and show the token that it asks for.

Exit codes: 0 it is there, 2 nothing answers at the address, or not with this user's token.
"""

import argparse
import sys
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Sequence

from actors.environment import token_file
from study.commands import arguments as given

USUAL = "http://127.0.0.1:8265"
"""Where a run has its dashboard if nothing else has that port."""
SECONDS = 5.0
"""Time in which a dashboard has to answer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="study dashboard",
        description="Open Ray's dashboard of a run on this machine, and show the token that it asks for once.",
    )
    parser.add_argument(
        "address",
        type=given.url,
        nargs="?",
        default=USUAL,
        metavar="URL",
        help=f"as a run prints it (default: {USUAL})",
    )
    parser.add_argument("--no-browser", action="store_true", help="only show the token")
    asked = parser.parse_args(arguments)
    address = asked.address.rstrip("/")
    token = token_file().read_text().strip() if token_file().is_file() else ""
    if problem := _problem(address, token):
        print(problem, file=sys.stderr)
        return 2
    print(f"{address}\ntoken: {token}\nThe page asks for it once; units are listed under Jobs, the job, Task Table.")
    if not asked.no_browser:
        webbrowser.open(address)
    return 0


def _problem(address: str, token: str) -> str:
    """Return why the dashboard cannot be opened; empty where it can."""
    asked = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return f"the dashboard at {address} refuses the token in {token_file()}: it is of another user's cluster"
        return f"{address} answers with {error.code}, and is no dashboard of Ray: give the address that the run printed"
    except (OSError, ValueError):
        return (
            f"nothing answers at {address}: a run prints the address of its dashboard, which is there for as long as "
            "the run; of a cluster, ask on its head"
        )
