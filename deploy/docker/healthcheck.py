"""Exit with 0 if the process of this container is ready: `healthcheck.py PORT`.

Written with what starts fastest, as it runs in every container every few seconds.
"""

import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=4) as connection:
    connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = connection.makefile("rb").read(65536)
status_line, _, rest = answer.partition(b"\r\n")
# The body says what is missing; docker inspect shows it.
sys.stdout.write(rest.partition(b"\r\n\r\n")[2].decode(errors="replace"))
sys.exit(status_line.split()[1:2] != [b"200"])
