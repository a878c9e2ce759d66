//! hitless.toml(5) in roff, made from the table of keys.
//!
//! Promises: every key of the table is in it, with what it takes and what holds without it.
//! Must not know: files.

use super::explain::{capital, facts, wrapped};
use super::keys::{KEYS, Key, header, written};

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
An application's own package may ship its file;
such a file holds services and nothing else.
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
A configuration with an error is refused as a whole,
with every error of every file as
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
An application with one slow report and its old paths redirected:
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
    let mut text =
        format!(".SS \"{}\"\n{}", headers.join(", "), lines(&format!("{}.", capital(row.summary))));
    text.push_str(&paragraph(row.detail));
    text
}

fn key(row: &Key) -> String {
    let mut text =
        format!(".TP\n.B {}\n{}", plain(&written(row)), lines(&format!("{}.", capital(row.summary))));
    text.push_str(&paragraph(row.detail));
    for (word, value) in facts(row) {
        text.push_str(&format!(".br\n{}", lines(&format!("{}: {value}", capital(word)))));
    }
    text
}

/// Sentences, each beginning on a line of its own.
fn paragraph(text: &str) -> String {
    text.split_inclusive(". ").map(lines).collect()
}

/// A sentence in short lines that roff takes for text.
fn lines(sentence: &str) -> String {
    let short = wrapped(sentence, "", 72);
    short.lines().map(|line| format!("{}\n", plain(line))).collect()
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
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for row in KEYS {
            assert!(words.contains(&plain(&capital(row.summary))), "{:?}", row.at);
        }
        assert!(page.is_ascii(), "roff knows other characters by name only");
    }
}
