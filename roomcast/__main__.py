"""Runs `python -m roomcast`."""

from roomcast.command import main

if __name__ == "__main__":
    main()
