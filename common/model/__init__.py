"""Names, ids, notifications, jobs and publications: what crosses processes. Pure."""
