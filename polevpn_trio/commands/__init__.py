"""The commands that look at a running program: they ask its control socket, and change nothing."""
