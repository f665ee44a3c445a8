"""Storage drivers: how layers become one root, by overlayfs, by btrfs or by copying."""
