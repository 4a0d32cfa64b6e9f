"""`python -m bench.compare.follow DIRECTORY COUNT`: a process that follows a volume.

It says `ready`, and when it has seen that many commits their LSNs and the moments, in nanoseconds,
at which it had each in hand, as JSON.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from time import time_ns


def main() -> None:
    """Follow the volume of the command line."""
    import aurolog

    directory, count = sys.argv[1], int(sys.argv[2])
    with aurolog.open(directory, read_only=True) as db:
        db.refresh()
        follower = db.follow()
        print("ready", flush=True)
        print(json.dumps([(commit.lsn, time_ns()) for commit in islice(follower, count)]))


if __name__ == "__main__":
    main()
