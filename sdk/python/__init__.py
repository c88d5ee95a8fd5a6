"""Asyncio client: keeps positions, comes back with jitter, resumes. Stands alone."""
