//! The annotated examples under `etc/`, made from the table of keys.
//!
//! Promises: `example` says what holds anyway, every key commented out at its default, so that
//! installing it changes nothing; `example_service` is a service that works when the comment signs
//! are taken away.
//! Must not know: files.

use super::explain::{capital, wrapped};
use super::keys::{KEYS, Key, Unset, header, written};

const WIDTH: usize = 100;

/// `/etc/hitless/hitless.toml`: the daemon.
pub fn example() -> String {
    let mut text = String::from(
        "# hitless: the daemon. Applications have files of their own in services.d/, see services.d/README.\n\
         #\n\
         # Each key stands here with its default, commented out. 'hitless check' looks for mistakes,\n\
         # 'hitless check --explain KEY' and hitless.toml(5) say more, 'systemctl reload hitless' applies it.\n",
    );
    for row in KEYS.iter().filter(|row| !row.at[0].starts_with("service.")) {
        // The only listener is written with its usual name.
        let path = row.at[0].replace("NAME", super::build::ONLY_LISTENER);
        text.push_str(&if row.example.is_empty() { opened(row, &path) } else { annotated(row) });
    }
    text
}

/// `/etc/hitless/services.d/README`: how an application is described, whole.
pub fn example_service() -> String {
    let mut text = String::from(
        "# One file per application: services.d/NAME.toml. Files that do not end in .toml, like this one,\n\
         # are not read. The least there is to say:\n\
         \n\
         [service.shop]\n\
         hosts = [\"shop.example.com\"]\n\
         endpoints = [\"127.0.0.1:3000\"]\n\
         \n\
         # Everything else has a default, or is optional. All there is:\n",
    );
    for row in KEYS.iter() {
        let Some(path) = row.at.iter().find(|path| path.starts_with("service.NAME.")) else { continue };
        let path = path.replace("NAME", "shop");
        text.push_str(&if row.example.is_empty() { commented(&opened(row, &path)) } else { annotated(row) });
    }
    text
}

fn opened(row: &Key, path: &str) -> String {
    format!("\n# {}.\n{}{}\n", capital(row.summary), detail(row), header(path))
}

fn annotated(row: &Key) -> String {
    let value = match row.unset {
        Unset::Default(text) => text,
        Unset::Required | Unset::Means(_) => row.example,
    };
    let allowed = wrapped(&format!("Allowed: {}.", row.kind.allowed()), "# ", WIDTH);
    let summary = format!("# {}.\n", capital(row.summary));
    format!("\n{summary}{}{allowed}#{} = {value}\n", detail(row), written(row))
}

fn detail(row: &Key) -> String {
    if row.detail.is_empty() { String::new() } else { wrapped(row.detail, "# ", WIDTH) }
}

fn commented(text: &str) -> String {
    let line = |line: &str| if line.starts_with('[') { format!("#{line}\n") } else { format!("{line}\n") };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Source, Sources, parse};
    use super::*;

    fn settings(text: String) -> std::sync::Arc<super::super::settings::Settings> {
        let loaded = parse(&Sources(vec![Source { name: "hitless.toml".into(), text }])).unwrap();
        assert_eq!(loaded.warnings, []);
        loaded.settings
    }

    #[test]
    fn installing_the_example_changes_nothing() {
        assert_eq!(settings(example()), settings(String::new()));
    }

    #[test]
    fn the_example_with_its_comment_signs_taken_away_changes_nothing_either() {
        let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
        let text: Vec<String> =
            example().lines().map(|l| if is_key(l) { l[1..].to_owned() } else { l.to_owned() }).collect();
        let text = text.join("\n");
        // The bounds of an adaptive deadline are without effect, and parse says so.
        let loaded = parse(&Sources(vec![Source { name: "hitless.toml".into(), text }])).unwrap();
        assert_eq!(loaded.settings, settings(String::new()));
    }
}
