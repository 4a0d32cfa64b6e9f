"""aurolog beside other engines, on the same work, interleaved in one run.

A map of the package; arrows only point down:

    __main__        the command line: which workloads, engines, rounds
    run             rounds: every contestant once a round, in rotated order, each in a fresh process
    child           one contestant's phase, in that process
    workloads       the work itself, in terms of the Engine protocol
    engine_*.py     one adapter per engine; engines.py has the protocol and finds them
    floor.py, .c    what the disk allows: the same writes and syncs in C, with no engine at all
    machine         what the machine is and what its counters say
    figures         pure: samples to medians, ratios by round, and which targets are reached
    report, plot    figures to tables and pictures
    document        a run's JSON to docs/benchmarks.md

Two words: a *way* is how a user may express the work to one engine (`tx.apply` of a packed buffer,
one `tx.write` per change …), a *contestant* is an engine with a way.
"""
