"""Serves the application of a directory with waitress, on a port that the kernel chooses: serve.py DIRECTORY.

The first line on standard output says where.
"""

import socket
import sys

import waitress

sys.path.insert(0, sys.argv[1])

from app import app  # noqa: E402

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print("listening on %s:%d" % listener.getsockname(), flush=True)
waitress.serve(app, sockets=[listener], threads=4)
