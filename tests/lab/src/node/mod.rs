//! A node: namespaces of its own, a private layer over the root image, and a PID 1 that starts the cluster's services.

pub(crate) mod boot;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod enter;
pub(crate) mod init;
pub(crate) mod mounts;
pub(crate) mod syslog;
