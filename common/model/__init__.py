"""Models shared between processes: names, ids, notifications, jobs and publications. Pure."""
