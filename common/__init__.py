"""What two or more processes share: settings, wire models, Redis keys and scripts, telemetry."""
