"""`/users` and `/rooms`: users, and the rooms that they are members of."""
