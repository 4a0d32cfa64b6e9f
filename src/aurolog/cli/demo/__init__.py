"""The demonstration: real files, a real SIGKILL, and proofs that can fail.

    command.py  the command: arguments, printing, cleaning up
    run.py      what happens, step by step, and what is measured
    rewind.py   the steps in which the volume goes back and forth
    proofs.py   what is proved, and how a proof fails
    loader.py   the process that loads files and is killed (`python -m aurolog.cli.demo.loader`)
    follower.py the process that follows (`python -m aurolog.cli.demo.follower`)
    process.py  the parent's side of these processes
    files.py    the small file store on pages that the files are kept in
    sources.py  where the files come from
    figures.py  what is measured

Only the public API of aurolog is used.
"""
