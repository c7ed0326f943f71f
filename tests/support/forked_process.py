"""Processes of the service and of the simulated Xero that start without importing them anew.

Importing the service takes more processor time than most tests. So the first of these processes starts a server, which
imports what they run and is forked for each of them; a forked process is as separate as one that an operator starts.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import wait

PROGRAMS = ("tests.replicas.replica", "app.cli.commands", "simulator.__main__")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PROGRAMS))


class ForkedProcess:
    """One process, with the methods of `subprocess.Popen` that tests use.

    Args:
        program: a module of `PROGRAMS`, whose `main` is called.
        arguments: of the command line.
        environment: the whole of it.
        outputs: the files that standard output and standard error are written to.
        cwd: the working directory.
    """

    def __init__(self, program, arguments, environment, outputs, cwd):
        words = [program, *map(str, arguments)]
        variables = {name: str(value) for name, value in environment.items()}
        self._process = _context.Process(target=_run, args=(words, variables, outputs, cwd), daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self):
        """Return the exit status, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout):
        """Wait for the end of the process for so many seconds at most, and return its exit status."""
        assert wait([self._process.sentinel], timeout), f"process {self.pid} has not ended within {timeout} s"
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number):
        # Not to another process that was given its number after its end.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run_command(arguments, environment, cwd):
    """Run `vectis-xero` with these arguments in a folder, and return its exit status and its output.

    Two files in the folder hold the output meanwhile.
    """
    outputs = (cwd / "stdout", cwd / "stderr")
    for path in outputs:
        path.unlink(missing_ok=True)
    status = ForkedProcess("app.cli.commands", arguments, environment, outputs, cwd).wait(120)
    return subprocess.CompletedProcess(arguments, status, *(path.read_text(encoding="utf-8") for path in outputs))


def _run(words, environment, outputs, cwd):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for path, descriptor in zip(outputs, (1, 2), strict=True):
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, descriptor)
        os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = words
    importlib.import_module(words[0]).main()


def _end_with_parent():
    """End this process when the tests' does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
