//! Listening sockets, data threads, and which thread serves an accepted connection.
