"""Tests of the local stack, `deploy.local`."""
