"""How fast the router is beside its peers: rounds in turns, paired ratios, verdicts. Nothing for users."""
