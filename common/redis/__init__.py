"""Redis: its keys, its connections and the scripts it runs."""
