//! A path pattern, cut into segments.
//!
//! Promises: it is read by the same rule as a request's path, so that both can be compared octet by
//! octet. Must not know: trees or routes.

use super::path;

/// `/a/{b}/*` as segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) segments: Vec<Segment>,
    /// Ends in `/*`: everything below, and the path without its last slash.
    pub(super) prefix: bool,
    /// Spells a form that applications read in different ways, and is taken at its word.
    pub(super) odd: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<[u8]>),
    /// One segment that is not empty.
    Parameter,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        let (text, prefix) = match text.strip_suffix("/*") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let text = text.strip_prefix('/').map(Some).unwrap_or((!text.is_empty()).then_some(text));
        let segments = text.map(segments).unwrap_or_default();
        let odd = path::is_odd(&literally(text.unwrap_or_default()));
        Pattern { segments, prefix, odd }
    }
}

fn segments(text: &str) -> Vec<Segment> {
    text.split('/')
        .map(|segment| match segment.starts_with('{') && segment.ends_with('}') {
            true => Segment::Parameter,
            false => Segment::Literal(literally(segment)),
        })
        .collect()
}

/// The octets to compare with; in text that is no valid encoding a `%` is meant as it stands.
pub(super) fn literally(text: &str) -> Box<[u8]> {
    let decoded = path::decode(text.as_bytes());
    decoded.unwrap_or_else(|_| text.replace('%', "%25").into_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_cut_into_segments() {
        let literal = |text: &str| Segment::Literal(text.as_bytes().into());
        let table = [
            ("/*", vec![], true),
            ("/", vec![literal("")], false),
            ("/a", vec![literal("a")], false),
            ("/a/", vec![literal("a"), literal("")], false),
            ("/a/*", vec![literal("a")], true),
            ("/a/{id}/b", vec![literal("a"), Segment::Parameter, literal("b")], false),
            ("/%61%2f", vec![literal("a%2F")], false),
            ("/100%", vec![literal("100%25")], false),
        ];
        for (text, segments, prefix) in table {
            let pattern = Pattern::new(text);
            assert_eq!((pattern.segments, pattern.prefix), (segments, prefix), "{text}");
        }
    }

    #[test]
    fn a_pattern_knows_when_it_spells_an_odd_form() {
        for (text, odd) in
            [("/a;v=1", true), ("/a//b", true), ("/a%2Fb/*", true), ("/a/{id}/*", false), ("/", false)]
        {
            assert_eq!(Pattern::new(text).odd, odd, "{text}");
        }
    }
}
