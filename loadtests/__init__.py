"""Load tests: `python -m loadtests.bench` and, with locust, `python -m loadtests.run_load`."""
