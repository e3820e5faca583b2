"""Who may talk to whom between sites: rules, and the flows that they have let in."""
