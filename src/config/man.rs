//! hitless.toml(5) in roff, made from the table of keys.
//!
//! Promises: every key of the table is in it, with what it takes and what holds without it.
//! Must not know: files.

use super::explain::{capital, facts};
use super::keys::{KEYS, Key, header, last, parent};

/// When the words of this page, those of the table included, were last looked over.
const REVISED: &str = "2026-11-21";

const HEAD: &str = r#".SH NAME
hitless.toml \- configuration of the hitless gateway
.SH SYNOPSIS
.I /etc/hitless/hitless.toml
.br
.I /etc/hitless/services.d/*.toml
.SH DESCRIPTION
.BR hitless (8)
reads
.I hitless.toml
for the daemon and one file per application from
.IR services.d .
An application's own package may ship its file; such a file holds services and nothing else.
Files are read in the order of their names.
Hidden files and files that do not end in
.I .toml
are not read.
A missing
.I hitless.toml
means the defaults.
.PP
The files are TOML.
The least useful service is three lines:
.PP
.RS 4
.nf
[service.blog]
hosts = ["blog.example.com"]
endpoints = ["127.0.0.1:3000"]
.fi
.RE
.PP
Everything else has a default.
.B hitless check
looks for mistakes without touching the daemon,
.B hitless check \-\-show
prints the configuration in effect with the origin of each value, and
.BI "hitless check \-\-explain " KEY
says what this page says about one key.
.PP
A configuration with an error is refused as a whole, with every error of every file as
.IR file : line : column :
.IR key :
.IR "what was found" ;
.IR "what is allowed" ;
.IR "what to do" .
A refused reload changes nothing: the configuration before it serves on.
.PP
Durations are whole numbers with a unit:
.BR ms ,
.BR s ,
.BR m ,
.B h
or
.BR d ,
such as "250ms" or "1h".
Names of services and listeners are at most 64 letters, digits,
.BR \- ,
.B _
and
.BR . ,
beginning with a letter or digit.
"#;

const TAIL: &str = r#".SH EXAMPLES
An application under two paths, with its old address redirected and one slow report:
.PP
.RS 4
.nf
[service.shop]
hosts = ["shop.example.com", "*.shop.example.com"]
endpoints = ["unix:/run/shop/http.sock"]

[[service.shop.route]]

[[service.shop.route]]
path = "/report"
timeout = { first\-byte = "10m" }

[[service.shop.route]]
path = "/old/*"
redirect = "https://shop.example.com/new{path}{query}"
.fi
.RE
.PP
Every plain request to https:
.PP
.RS 4
.nf
[service.to\-https]
hosts = ["*"]
listeners = ["http"]

[[service.to\-https.route]]
redirect = "https://{host}{path}{query}"
.fi
.RE
.SH FILES
.TP
.I /etc/hitless/hitless.toml
The daemon.
.TP
.I /etc/hitless/services.d/*.toml
The applications.
.SH SEE ALSO
.BR hitless (8),
.BR systemd.socket (5),
.BR journald.conf (5)
"#;

/// The whole page.
pub fn man() -> String {
    let mut page =
        String::from(".\\\" Made from the table of keys by 'hitless generate'; changes here are lost.\n");
    let version = env!("CARGO_PKG_VERSION");
    page.push_str(&format!(".TH HITLESS.TOML 5 \"{REVISED}\" \"hitless {version}\" \"hitless\"\n{HEAD}"));
    page.push_str(".SH KEYS\n");
    for row in KEYS {
        page.push_str(&if is_section(row) { section(row) } else { key(row) });
    }
    page.push_str(TAIL);
    page
}

/// A table that is written as a header of its own.
fn is_section(row: &Key) -> bool {
    row.example.is_empty()
}

fn section(row: &Key) -> String {
    let headers: Vec<String> = row.at.iter().map(|path| plain(&header(path))).collect();
    let mut text = format!(".SS \"{}\"\n{}.\n", headers.join(", "), plain(&capital(row.summary)));
    text.push_str(&paragraph(row.detail));
    text
}

fn key(row: &Key) -> String {
    let below = KEYS.iter().any(|other| !is_section(other) && other.at[0] == parent(row.at[0]));
    let name = if below {
        format!("{}.{}", last(parent(row.at[0])), last(row.at[0]))
    } else {
        last(row.at[0]).into()
    };
    let mut text = format!(".TP\n.B {}\n{}.\n", plain(&name), plain(&capital(row.summary)));
    if row.at.len() > 1 && row.at[1].ends_with(&format!("route[].{}", last(row.at[0]))) {
        text.push_str("A route without it takes it from its service.\n");
    }
    text.push_str(&paragraph(row.detail));
    for (word, value) in facts(row) {
        text.push_str(&format!(".br\n{}: {}\n", plain(&capital(word)), plain(&value)));
    }
    text
}

/// Sentences, each on a line of its own.
fn paragraph(text: &str) -> String {
    let mut lines = String::new();
    for sentence in text.split_inclusive(". ") {
        lines.push_str(&plain(sentence.trim()));
        lines.push('\n');
    }
    if text.is_empty() { String::new() } else { lines }
}

/// Text that roff leaves alone.
fn plain(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('…', "\\&...");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_is_in_the_page() {
        let page = man();
        for row in KEYS {
            assert!(page.contains(&plain(&capital(row.summary))), "{:?}", row.at);
        }
        assert!(page.is_ascii(), "roff knows other characters by name only");
    }
}
