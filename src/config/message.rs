//! What the configuration has to say to its author, and where in the files it says it.
//!
//! Promises: one line each, `file:line:col: key: what was found; what is allowed; what to do`, in
//! the order of the files, whatever characters the files and their names contain. What is missing in a
//! file comes after what is wrong in it, for a wrong name is the usual reason.
//! Must not know: the keys, or what makes a value wrong.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::work;

/// More than this many messages help nobody; the last one then says how many were left out.
const MOST: usize = 1000;
/// A value is quoted up to this many characters.
const QUOTED: usize = 60;

/// One thing that is wrong, or (as a warning) without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The file as it was named to `read`.
    pub file: String,
    /// Line and column, from 1, the column in characters; `None` when it is about the file as a whole.
    pub position: Option<(usize, usize)>,
    /// The key with its tables, such as `service.shop.hosts`; may be empty.
    pub key: String,
    pub found: String,
    pub allowed: String,
    pub remedy: String,
}

/// Every error of every file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors(pub Vec<Message>);

/// A byte of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark {
    pub source: usize,
    pub offset: usize,
}

/// What is said about one mark.
#[derive(Debug)]
pub(super) struct Finding {
    pub mark: Mark,
    pub missing: bool,
    pub key: String,
    pub found: String,
    pub allowed: String,
    pub remedy: String,
}

/// The findings of one run over all files.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

/// The names of the files and where their lines start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places {
    files: Vec<(String, Vec<usize>)>,
}

impl Report {
    pub fn error(
        &mut self,
        mark: Mark,
        key: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (found, allowed, remedy) = (found.into(), allowed.into(), remedy.into());
        self.errors.push(Finding { mark, missing: false, key: key.into(), found, allowed, remedy });
    }

    /// Something that the table at `mark` should have.
    pub fn missing(
        &mut self,
        mark: Mark,
        key: String,
        found: impl Into<String>,
        allowed: String,
        remedy: String,
    ) {
        self.errors.push(Finding { mark, missing: true, key, found: found.into(), allowed, remedy });
    }

    pub fn warning(
        &mut self,
        mark: Mark,
        key: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (found, remedy) = (found.into(), remedy.into());
        let allowed = String::new();
        self.warnings.push(Finding { mark, missing: false, key: key.into(), found, allowed, remedy });
    }
}

impl Places {
    pub fn add(&mut self, name: &str, text: &str) {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.files.push((name.to_owned(), starts));
    }

    /// The file.
    pub fn name(&self, mark: Mark) -> &str {
        self.files.get(mark.source).map_or("", |(name, _)| name)
    }

    /// `file:line`.
    pub fn line(&self, mark: Mark) -> String {
        let Some((name, starts)) = self.files.get(mark.source) else { return String::new() };
        format!("{name}:{}", starts.partition_point(|start| *start <= mark.offset))
    }

    /// The findings as messages, in the order of the files. The column is counted onward from the
    /// finding before it, so that a file that is one long line costs one pass, not one per finding.
    pub fn messages(&self, mut findings: Vec<Finding>, texts: &[&str]) -> Vec<Message> {
        findings.sort_by_key(|finding| (finding.mark.source, finding.missing, finding.mark.offset));
        let left_out = findings.len().saturating_sub(MOST);
        findings.truncate(MOST);
        let mut reached = (usize::MAX, 0, 0, 0);
        let mut messages: Vec<Message> =
            findings.into_iter().map(|finding| self.message(finding, texts, &mut reached)).collect();
        if let (Some(last), 1..) = (messages.last_mut(), left_out) {
            let found = format!("and {} more errors", left_out + 1);
            *last =
                Message { found, remedy: "correct those above first".into(), ..Message::about(&last.file) };
        }
        messages
    }

    fn message(
        &self,
        finding: Finding,
        texts: &[&str],
        reached: &mut (usize, usize, usize, usize),
    ) -> Message {
        let Finding { mark, key, found, allowed, remedy, .. } = finding;
        let (name, starts) = &self.files[mark.source];
        let text = texts[mark.source];
        let offset = boundary(text, mark.offset);
        let line = starts.partition_point(|start| *start <= offset);
        let (from, before) = match *reached {
            (source, reached_line, at, column)
                if (source, reached_line) == (mark.source, line) && at <= offset =>
            {
                (at, column)
            }
            _ => (starts[line - 1], 0),
        };
        work::did(1 + offset - from);
        let column = before + text[from..offset].chars().filter(|c| *c != '\u{feff}').count();
        *reached = (mark.source, line, offset, column);
        Message { file: name.clone(), position: Some((line, column + 1)), key, found, allowed, remedy }
    }
}

impl Message {
    /// About a file as a whole; the caller fills in the rest.
    pub(super) fn about(file: &str) -> Message {
        let nothing = String::new;
        let (key, found, allowed, remedy) = (nothing(), nothing(), nothing(), nothing());
        Message { file: file.to_owned(), position: None, key, found, allowed, remedy }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.file))?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", visible(&self.key))?;
        }
        let parts = [&self.found, &self.allowed, &self.remedy];
        let mut separator = ": ";
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{separator}{}", visible(part))?;
            separator = "; ";
        }
        Ok(())
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, message) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// The start of the character at `offset`, or the end.
pub(super) fn boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// A text as found, on one line and not too long: `'text'`.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", bare(text))
}

/// A path, whole: where it ends is what its reader needs, and PATH_MAX bounds it.
pub(super) fn quote_path(path: &Path) -> String {
    format!("'{}'", visible(&path.to_string_lossy()))
}

/// The same without quotes, for numbers.
pub(super) fn bare(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    visible(&short)
}

/// The candidate that `text` was probably meant to be.
pub(super) fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A long text is no slip of the finger, and the distance is quadratic in its length.
    if text.len() > QUOTED {
        return None;
    }
    let text = text.to_lowercase();
    let candidates: Vec<&str> =
        candidates.into_iter().filter(|candidate| candidate.len() <= QUOTED).collect();
    let sizes: usize = candidates.iter().map(|candidate| candidate.len()).sum();
    work::did(2 * text.len() * sizes);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&text, candidate);
    let best = candidates.iter().copied().min_by_key(|candidate| distance(candidate))?;
    if distance(best) <= (best.len().max(text.len()) / 3).max(1) {
        return Some(best);
    }
    candidates.into_iter().find(|candidate| text.len() >= 3 && candidate.starts_with(&text))
}

/// `a, b or c`.
pub(super) fn either<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// Control characters written as escapes, so that a message stays one line and cannot draw on a terminal.
fn visible(text: &str) -> String {
    let invisible =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if invisible(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, offsets: &[usize]) -> Vec<Message> {
        let mut places = Places::default();
        places.add("a.toml", text);
        let mut report = Report::default();
        for offset in offsets {
            report.error(Mark { source: 0, offset: *offset }, "k", "found", "", "");
        }
        places.messages(report.errors, &[text])
    }

    #[test]
    fn a_position_is_line_and_column_in_characters() {
        let messages = report("aé=1\nçb = 2\n", &[3, 6, 8, 0]);
        let positions: Vec<_> = messages.iter().filter_map(|m| m.position).collect();
        assert_eq!(positions, [(1, 1), (1, 3), (2, 1), (2, 2)]);
    }

    #[test]
    fn what_is_missing_comes_after_what_is_wrong_in_the_same_file() {
        let mut places = Places::default();
        places.add("a.toml", "[t] x = 1\n");
        let mut report = Report::default();
        report.missing(Mark { source: 0, offset: 0 }, "t.y".into(), "missing", String::new(), String::new());
        report.error(Mark { source: 0, offset: 4 }, "t.x", "unknown key", "", "");
        let messages = places.messages(report.errors, &["[t] x = 1\n"]);
        let said: Vec<_> = messages.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["a.toml:1:5: t.x: unknown key", "a.toml:1:1: t.y: missing"]);
    }

    #[test]
    fn a_position_beyond_the_end_is_the_end() {
        assert_eq!(report("ab", &[99])[0].position, Some((1, 3)));
    }

    #[test]
    fn empty_parts_leave_no_trace() {
        let message = Message { found: "gone".into(), ..Message::about("a.toml") };
        assert_eq!(message.to_string(), "a.toml: gone");
    }

    #[test]
    fn a_message_is_one_line_whatever_it_quotes() {
        let message = Message { found: quote("a\nb\u{1b}[31m"), ..Message::about("x\ny.toml") };
        assert_eq!(message.to_string(), r"x\ny.toml: 'a\nb\u{1b}[31m'");
    }

    #[test]
    fn too_many_messages_end_in_their_number() {
        let text = "x".repeat(MOST + 5);
        let messages = report(&text, &(0..MOST + 5).collect::<Vec<_>>());
        assert_eq!(messages.len(), MOST);
        assert_eq!(messages[MOST - 1].to_string(), "a.toml: and 6 more errors; correct those above first");
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(closest("endpoint", ["hosts", "endpoints"]), Some("endpoints"));
        assert_eq!(closest("idle_grace", ["idle-grace"]), Some("idle-grace"));
        assert_eq!(closest("warn", ["debug", "warning"]), Some("warning"));
        assert_eq!(closest("colour", ["hosts", "endpoints"]), None);
    }
}
