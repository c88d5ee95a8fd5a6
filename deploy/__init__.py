"""Deployment of Roomcast: locally (`deploy.local`) and in Docker."""
