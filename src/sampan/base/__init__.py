"""The ground floor: errors, diagnostics, units, and the invariant check. Pure, no I/O."""
