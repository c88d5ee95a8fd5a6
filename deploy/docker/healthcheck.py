"""Exit with 0 if the process of this container is ready: `healthcheck.py PORT`.

It imports only what starts fast, as it runs in every container every few seconds.
"""

import os
import socket
import sys

port = sys.argv[1]
connection = socket.create_connection(("127.0.0.1", int(port)), timeout=4)
if os.environ.get("TLS_CERT_FILE") and port in (os.environ.get("PORT"), os.environ.get("WS_PORT")):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is not for this address, and we know who answers here.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = context.wrap_socket(connection)
with connection:
    connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = connection.makefile("rb").read(65536)
status_line, _, rest = answer.partition(b"\r\n")
# The body names the reason; docker inspect shows it.
sys.stdout.write(rest.partition(b"\r\n\r\n")[2].decode(errors="replace"))
sys.exit(status_line.split()[1:2] != [b"200"])
