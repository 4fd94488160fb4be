//! Tests on the real cgroup2 mount.
