"""Holds a peer's worker, or its database: `python -m bench.peers.held SIGNAL COMMAND ...`.

A worker is started by the command that its documentation gives, which knows nothing of the bench. This
process speaks for it: it says that it is there, ends with its standard input, and ends the command then.
So nothing outlives the bench, however that ends. What the command complains of goes to standard error;
what else it says, nobody reads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

END_LIMIT_S = 5
"""Longest wait for a command to end when it is told to, before it is killed."""


def main() -> int:
    name, *command = sys.argv[1:]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    print('{"ready": true}', flush=True)
    told = signal.Signals[name]
    threading.Thread(target=_end_with_input, args=(child, told), daemon=True).start()
    status = child.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what it has left behind
    return status


def _end_with_input(child: subprocess.Popen[bytes], told: signal.Signals) -> None:
    while os.read(sys.stdin.fileno(), 1):  # a buffered read would be in the way when this process ends
        pass
    child.send_signal(told)
    try:
        child.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main())
