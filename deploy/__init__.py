"""How Roomcast is run: locally (`deploy.local`), in Docker, and what documents it."""
