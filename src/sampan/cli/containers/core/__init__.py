"""What the container commands decide without doing anything: flags, request bodies, templates."""
