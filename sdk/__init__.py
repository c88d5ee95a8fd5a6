"""Reference clients, one folder per language."""
