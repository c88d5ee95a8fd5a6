"""Channels: heard from Redis, kept without gaps, fanned out."""
