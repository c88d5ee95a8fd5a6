"""Ports of the local stack: conflicts, and the programs behind them."""
