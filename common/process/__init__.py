"""Running of a process: replicas, command line, backoff, niceness."""
