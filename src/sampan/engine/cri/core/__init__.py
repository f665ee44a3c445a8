"""From the messages of CRI to records of the engine, and back. Pure, no I/O."""
