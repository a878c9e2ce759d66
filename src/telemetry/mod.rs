//! What is told to the outside: the journal, the access log, the counters.
