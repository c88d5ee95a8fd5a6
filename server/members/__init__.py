"""`/users` and `/rooms`: users, and the rooms they are members of."""
