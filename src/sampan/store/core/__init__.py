"""The store's state machine, pure: revisions, transactions, leases, watches, permissions."""
