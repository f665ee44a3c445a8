"""Container records, their states and the specification made of them. Pure, no I/O."""
