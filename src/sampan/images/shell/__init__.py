"""Images on a disk and across a network."""
