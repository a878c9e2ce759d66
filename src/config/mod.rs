//! The configuration: files as written → checked → settings.

pub mod settings;
