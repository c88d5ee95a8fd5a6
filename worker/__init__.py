"""Takes turns, enriches jobs and publishes them: once each, in the order of acceptance."""
