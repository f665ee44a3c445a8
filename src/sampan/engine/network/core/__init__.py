"""Address allocation, packet filter rules and DNS answers as values. Pure, no I/O."""
