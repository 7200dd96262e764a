"""`thermocline` at the price of a fork: pages run it a hundred times, and starting it anew costs a second each.

A process that has imported everything waits at a socket. The command in a page's `.venv/bin` hands it arguments,
folder, environment and the three standard streams; a fork of it then is the real program, from its entry on.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b"."], [0, 1, 2])
    connection.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    connection.shutdown(socket.SHUT_WR)
    sys.exit(int(connection.recv(16) or b"70"))
"""
"""What a page calls; 70 (a fault of the software) if the fork died."""


def write_client(path: Path, address: Path) -> None:
    """Make the command."""
    path.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    path.chmod(0o755)


def serve(address: str) -> None:
    """Fork the program for whoever connects, until this process is ended."""
    # What the commands import while they run.
    import thermocline.interfaces.cli.app
    import thermocline.interfaces.cli.commands.mending
    import thermocline.interfaces.cli.opening
    import thermocline.orchestrator
    import thermocline.synchronous
    import thermocline.wiring.diagnosis  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _be_the_program(connection)
            connection.close()


def _be_the_program(connection: socket.socket) -> None:
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        arguments, folder, environment = json.loads(received)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        from thermocline.interfaces.cli.main import main

        code = main(arguments)
        connection.sendall(b"%d" % code)
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
