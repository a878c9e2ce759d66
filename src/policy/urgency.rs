//! How urgent a request says that it is: RFC 9218, section 4.1, `u` from 0, the most urgent, to 7; or such a number alone.
//!
//! Promises: what says nothing, or nothing that can be read, is of the usual urgency (section 4.1: 3).
//! Must not know: what it is worth.

use http::HeaderMap;

/// 0 to 7.
pub type Urgency = u8;

pub const USUAL: Urgency = 3;
const LEAST: Urgency = 7;

/// As the field of this name has it. A member that comes twice counts the last time (RFC 8941, section 3.2).
pub fn urgency(headers: &HeaderMap, field: &str) -> Urgency {
    let lines = headers.get_all(field).iter().filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split(',')).map(str::trim);
    members.filter_map(member).next_back().unwrap_or(USUAL)
}

fn member(text: &str) -> Option<Urgency> {
    let bare = text.split(';').next().unwrap_or_default().trim();
    let number = bare.strip_prefix("u=").unwrap_or(bare);
    let digit = number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|urgency| digit && *urgency <= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_as_a_dictionary_or_as_a_number() {
        for (text, read) in [
            ("u=0", 0),
            ("u=7, i", 7),
            ("i, u=1", 1),
            ("i", 3),
            ("u=5, u=2", 2),
            ("u=1;x=2", 1),
            ("4", 4),
            ("", 3),
            ("u=8", 3),
            ("u=-1", 3),
            ("u=+1", 3),
            ("u=\"1\"", 3),
            ("urgent", 3),
            ("u=01", 3),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("priority", text.parse().unwrap());
            assert_eq!(urgency(&headers, "priority"), read, "{text}");
        }
        assert_eq!(urgency(&HeaderMap::new(), "priority"), USUAL);
    }
}
