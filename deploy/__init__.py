"""How Roomcast is run: locally (`deploy.local`) and in Docker."""
