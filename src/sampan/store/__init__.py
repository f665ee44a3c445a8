"""The etcd v3 store: MVCC, leases, watches, auth, over a write-ahead log."""
