"""Control of the local stack: supervisord, reload, and the locks of running stacks."""
