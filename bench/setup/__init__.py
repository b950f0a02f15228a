"""How this repository sets itself up: its environment, its locks, and a private `buildah` for its container image.

Not in the wheel: nothing here is for users."""
