//! The endpoints of a service: pools, attempts, answers.
