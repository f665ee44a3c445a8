"""The container commands of `sampan`: Docker's words, over the public Docker API only."""
