"""Code that several processes share: settings, wire models, Redis keys and scripts, telemetry."""
