"""The soak: half an hour of mixed load and trouble, and an account of every write, session, descriptor and byte."""
