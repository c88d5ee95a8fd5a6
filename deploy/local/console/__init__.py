"""Output of the local stack: the terminal, the log files and the first screen."""
