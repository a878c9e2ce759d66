//! The mailbox between processes: versioned records with file descriptors.
