"""What a router shows in a browser: how it is now, and how it was. An extra, off by default."""
