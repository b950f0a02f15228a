"""The demonstration: everything at work on real servers, with real failovers, and an account of what it cost."""
