"""Life of a process: replicas, command line, waiting, niceness."""
