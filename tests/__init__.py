"""Tests of all processes, and of how they are run."""
