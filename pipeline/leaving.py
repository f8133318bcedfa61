"""Ending a process that had process groups, before the interpreter takes itself apart under their threads.

`destroy_process_group` does not end gloo's worker threads while anything still refers to the group, and sharded modules do. A
worker that lets go of its last tensor asks for the interpreter's lock; where the interpreter ends in that very moment, Python
ends the thread inside C++ code that must not be left, and the process dies by SIGABRT ("terminate called without an active
exception") after all its work is done. https://docs.python.org/3/c-api/init.html#c.PyGILState_Ensure describes the hazard.
"""

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_and_leave(job: Callable[[], int]) -> NoReturn:
    """Run `job` and end the process with the code it returns; with 1 where it raises, after the traceback.

    What was registered to run at exit later than this runs as ever, and threads that are no daemons are waited for; only the
    interpreter's own taking apart is left out.
    """
    code = 1

    def leave() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it any more
                stream.flush()
        os._exit(code)

    atexit.register(leave)  # handlers run in the opposite order: registered first, this one is the last
    try:
        sys.exit(job())
    except SystemExit as ending:  # from here or, after --help, from within
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        raise
