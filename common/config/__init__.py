"""Settings: their sources and the values they accept."""
