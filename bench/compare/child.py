"""`python -m bench.compare.child JOB`: one phase of one contestant, in this process alone.

A process each: no engine's threads, memory or open files are there when another is timed, and one
that crashes takes nothing with it. JOB is JSON; the figures go to standard output as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.compare import catalogue
from bench.compare.workloads import Job


def main() -> None:
    """Run the job of the command line."""
    fields = json.loads(sys.argv[1])
    fields["directory"] = Path(fields["directory"])
    print(json.dumps(catalogue.run(Job(**fields))))


if __name__ == "__main__":
    main()
