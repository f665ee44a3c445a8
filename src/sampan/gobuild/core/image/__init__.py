"""Images: the tree that their layers make, and their programs against what the index claims."""
