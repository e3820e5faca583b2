"""Forward error correction below the ARQ: repair datagrams, and how many of them to send."""
