"""The figures that the documents state, each made again by one command. For this repository only: not in the wheel."""
