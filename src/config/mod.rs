//! The configuration: files as written → checked → settings.
//!
//! [`read`] takes the files from the disk, [`parse`] turns their text into [`Loaded`] settings or
//! into every error of every file. In between: `check` walks each file beside the table of keys
//! ([`KEYS`]), `build` merges the files and looks at what values mean to each other. From the same table come
//! [`explain`], [`show`], [`schema`], [`example`], [`example_service`] and [`man`].
//!
//! Promises: `parse` depends on its argument alone, never panics, and is linear in its size.
//! Must not know: who asks, and what a reload is.

mod build;
mod check;
mod example;
mod explain;
mod files;
mod keys;
mod kind;
mod man;
mod message;
mod routes;
mod schema;
pub mod settings;
mod shape;
mod show;
mod tree;
mod unique;
mod value;

use std::path::Path;
use std::sync::Arc;

pub use example::{example, example_service};
pub use explain::{Unknown, explain};
pub use files::{Source, Sources};
pub use keys::{KEYS, Key, Unset};
pub use kind::Kind;
pub use man::man;
pub use message::{Errors, Message};
pub use schema::schema;
pub use show::show;

use message::{Places, Report};
use settings::Settings;
use tree::{Branch, Table};

/// A configuration that was accepted.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Arc<Settings>,
    pub origins: Origins,
    /// What is accepted and has no effect, or an unexpected one.
    pub warnings: Vec<Message>,
}

/// Where each value was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Origins {
    root: Branch,
    places: Places,
}

/// Reads `<dir>/hitless.toml`, which may be absent, and `<dir>/services.d/*.toml`. When a file cannot be
/// read, the errors in the others are reported along with it.
pub fn read(dir: &Path) -> Result<Sources, Errors> {
    let (sources, mut errors) = files::read(dir);
    if errors.is_empty() {
        return Ok(sources);
    }
    if let Err(others) = parse_part(&sources, false) {
        errors.extend(others.0);
    }
    Err(Errors(errors))
}

/// Checks the text of all files and makes settings of them.
pub fn parse(sources: &Sources) -> Result<Loaded, Errors> {
    parse_part(sources, true)
}

/// `whole` says that no file is missing from the sources.
fn parse_part(sources: &Sources, mut whole: bool) -> Result<Loaded, Errors> {
    let mut report = Report::default();
    let mut places = Places::default();
    let mut tables: Vec<Option<Table>> = Vec::new();
    for (index, source) in sources.0.iter().enumerate() {
        places.add(&source.name, &source.text);
        let of_services = source.is_of_services();
        let table = check::check(index, &source.text, of_services, &mut report);
        whole &= table.is_some() || of_services;
        tables.push(table);
    }
    let root = build::merge(tables.into_iter().flatten(), &places, &mut report);
    let settings = build::build(&root, whole, &places, &mut report);
    let texts: Vec<&str> = sources.0.iter().map(|source| source.text.as_str()).collect();
    let errors = places.messages(report.errors, &texts);
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    let warnings = places.messages(report.warnings, &texts);
    Ok(Loaded { settings: Arc::new(settings), origins: Origins { root, places }, warnings })
}
