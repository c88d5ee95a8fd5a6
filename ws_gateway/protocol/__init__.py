"""What travels on sockets and event streams. Pure, no I/O."""
