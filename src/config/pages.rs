//! The bodies that operators give to error answers: which folders hold them, what their files are
//! called and what they may hold.
//!
//! Promises: an accepted page can be filled in for every error and is then what its form says; a
//! page holds no control characters, so that a snapshot of it is not much longer than itself.
//! Must not know: the disk, or which page an answer takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build;
use super::check;
use super::files::{Source, Sources};
use super::message::{Mark, Places, Report, boundary};
use super::settings::{ErrorPage, ErrorPages, Form, PageFor, Piece};
use super::tree::{Branch, Found, Node, Section, Table};
use super::value::Value;

pub(super) const ALLOWED: &str =
    "allowed: a status such as 502, 4xx, 5xx or error, with .html, .json or .txt";

/// A folder that the configuration names, and where it does.
pub(super) struct Folder {
    pub path: PathBuf,
    pub key: String,
    pub mark: Mark,
}

/// The pages of each folder, by its path.
pub(super) type Folders = BTreeMap<PathBuf, Arc<ErrorPages>>;

/// Which pages a file of this name is, if it is one.
pub(super) fn name(file: &str) -> Option<(Form, PageFor)> {
    let (stem, extension) = file.split_once('.')?;
    let form = match extension {
        "txt" => Form::Text,
        "json" => Form::Problem,
        "html" => Form::Html,
        _ => return None,
    };
    let which = match stem {
        "error" => PageFor::Any,
        "4xx" => PageFor::Class(4),
        "5xx" => PageFor::Class(5),
        _ if stem.len() != 3 => return None,
        _ => PageFor::Status(stem.parse().ok().filter(|status| (400..600).contains(status))?),
    };
    Some((form, which))
}

/// The folders that the files name, each once, whatever else is wrong in them.
pub(super) fn folders(sources: &Sources) -> Vec<Folder> {
    let mut folders: Vec<Folder> = Vec::new();
    for (index, source) in sources.0.iter().enumerate() {
        // Most name none, and need not be parsed twice. A key may be written with escapes.
        if !source.text.contains("directory") && !source.text.contains('\\') {
            continue;
        }
        let table = check::check(index, &source.text, source.is_of_services(), &mut Report::default());
        for (key, branch) in table.iter().flat_map(named) {
            let Node::Leaf(Value::Text(directory)) = &branch.node else { continue };
            let path = place(&source.name, directory);
            if !folders.iter().any(|folder| folder.path == path) {
                folders.push(Folder { path, key, mark: branch.mark });
            }
        }
    }
    folders
}

fn named(root: &Table) -> Vec<(String, &Branch)> {
    let below = |path: String, table| Some((format!("{path}errors.directory"), own(table)?));
    let services = root.get("service").and_then(Branch::table).into_iter().flatten();
    let of_services =
        services.filter_map(|(name, service)| below(format!("service.{name}."), service.table()?));
    below(String::new(), root).into_iter().chain(of_services).collect()
}

fn own(table: &Table) -> Option<&Branch> {
    table.get("errors")?.table()?.get("directory")
}

/// Where a folder or file lies that is named in the file `source`.
pub(super) fn place(source: &str, directory: &str) -> PathBuf {
    let source = Path::new(source);
    let beside = source.parent().unwrap_or(Path::new(""));
    let of_services = Source::lies_among_services(source);
    let base = if of_services { beside.parent().unwrap_or(Path::new("")) } else { beside };
    base.join(directory)
}

/// Reads what the pages among the sources say.
pub(super) fn collect(sources: &Sources, report: &mut Report) -> Folders {
    let mut folders: BTreeMap<PathBuf, ErrorPages> = BTreeMap::new();
    for (index, source) in sources.0.iter().enumerate().filter(|(_, source)| source.is_page()) {
        let path = Path::new(&source.name);
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (Some(folder), Some((form, which))) = (path.parent(), name(file)) else { continue };
        let page = page(&source.text);
        if let Some((offset, found, allowed, remedy)) = wrong(form, &source.text, &page) {
            report.error(Mark { source: index, offset }, "", found, allowed, remedy);
        }
        folders.entry(folder.to_owned()).or_default().0.insert((form, which), page);
    }
    folders.into_iter().map(|(folder, pages)| (folder, Arc::new(pages))).collect()
}

/// The pages in effect for a table of `errors`.
pub(super) fn of(section: &Section<'_>, places: &Places, folders: &Folders) -> Arc<ErrorPages> {
    let Some(directory) = section.one("directory", build::text) else { return Arc::default() };
    let Some(Found::Written(branch)) = section.find("directory") else { return Arc::default() };
    folders.get(&place(places.name(branch.mark), &directory)).cloned().unwrap_or_default()
}

const PLACEHOLDERS: [(&str, Piece); 5] = [
    ("{status}", Piece::Status),
    ("{title}", Piece::Title),
    ("{detail}", Piece::Detail),
    ("{code}", Piece::Code),
    ("{request_id}", Piece::RequestId),
];

/// Braces that are no placeholder, as in a style sheet or in JSON, are text.
fn page(text: &str) -> ErrorPage {
    let mut pieces = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while let Some(brace) = text[at..].find('{').map(|offset| at + offset) {
        let Some((word, piece)) = PLACEHOLDERS.iter().find(|(word, _)| text[brace..].starts_with(word))
        else {
            at = brace + 1;
            continue;
        };
        if plain < brace {
            pieces.push(Piece::Text(text[plain..brace].to_owned()));
        }
        pieces.push(piece.clone());
        at = brace + word.len();
        plain = at;
    }
    if plain < text.len() {
        pieces.push(Piece::Text(text[plain..].to_owned()));
    }
    ErrorPage(pieces)
}

type Wrong = (usize, String, &'static str, &'static str);

fn wrong(form: Form, text: &str, page: &ErrorPage) -> Option<Wrong> {
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    if let Some((offset, found)) = text.char_indices().find(|(_, c)| control(*c)) {
        let found = format!("found the control character U+{:04X}", u32::from(found));
        return Some((offset, found, "allowed: text", "remove it"));
    }
    if form != Form::Problem {
        return None;
    }
    let allowed = "allowed: a JSON object, with placeholders such as \"{detail}\" in its strings";
    let sample = page.fill(|piece| if *piece == Piece::Status { "500".into() } else { "x".into() });
    match serde_json::from_str::<serde_json::Value>(&sample) {
        Ok(serde_json::Value::Object(_)) => None,
        Ok(_) => Some((0, "found JSON that is no object".into(), allowed, "put it into braces")),
        Err(error) => {
            // What was filled in is on one line and may be longer or shorter: the line is right.
            let line = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let said = error.to_string();
            let said = said.split(" at line").next().unwrap_or_default();
            let remedy = "mend it; only {status} may stand outside of a string";
            Some((boundary(text, line), format!("not JSON: {said}"), allowed, remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_named_for_one_status_a_class_or_all() {
        let table = [
            ("502.html", Some((Form::Html, PageFor::Status(502)))),
            ("404.txt", Some((Form::Text, PageFor::Status(404)))),
            ("5xx.json", Some((Form::Problem, PageFor::Class(5)))),
            ("error.html", Some((Form::Html, PageFor::Any))),
            ("200.html", None),
            ("600.html", None),
            ("0502.html", None),
            ("502.htm", None),
            ("502.html.gz", None),
            ("502", None),
            ("3xx.html", None),
            ("", None),
        ];
        for (file, meant) in table {
            assert_eq!(name(file), meant, "{file}");
        }
    }

    #[test]
    fn braces_that_are_no_placeholder_are_text() {
        let text = "<style>b{color:red}</style>{title}{{code}{nothing}{";
        let filled = page(text).fill(|piece| format!("[{piece:?}]"));
        assert_eq!(filled, "<style>b{color:red}</style>[Title]{[Code]{nothing}{");
        assert_eq!(page("").fill(|_| String::new()), "");
    }

    #[test]
    fn a_page_of_json_is_json_when_it_is_filled_in() {
        let said = |text: &str| wrong(Form::Problem, text, &page(text)).map(|(at, found, ..)| (at, found));
        assert_eq!(said("{\"status\": {status}, \"detail\": \"{detail}: {code}\"}"), None);
        assert_eq!(said("[]"), Some((0, "found JSON that is no object".into())));
        assert_eq!(said("{\n\"a\": {title}}"), Some((2, "not JSON: expected value".into())));
        assert_eq!(said("{\"é\": \"\u{7f}\"}"), Some((8, "found the control character U+007F".into())));
    }
}
