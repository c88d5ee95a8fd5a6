"""Logs, metrics and health, for the operators of a process."""
