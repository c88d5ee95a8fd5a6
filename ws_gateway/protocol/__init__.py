"""Protocol of sockets and event streams. Pure, no I/O."""
