"""Measures Roomcast beside its peers in one session. Linux, two cores, loopback only."""
