//! `hitless reload`: the verdict on the configuration, for `ExecReload=` and for people.

use std::path::Path;

use super::client::{self, Where};
use super::{Fatal, code, print};
use crate::admin::Verdict;

pub fn reload(place: &Where, directory: &Path) -> Result<(), Fatal> {
    let answer = client::ask(place, directory, "POST /reload", "reload")?;
    let text = String::from_utf8_lossy(&answer.body);
    let Ok(verdict) = serde_json::from_slice::<Verdict>(&answer.body) else {
        return Err(Fatal::new(code::UNAVAILABLE, format_args!("cannot reload: {}", text.trim())));
    };
    let Verdict { accepted, generation, messages } = verdict;
    if accepted {
        let mut said = messages.iter().map(|warning| format!("warning: {warning}\n")).collect::<String>();
        said.push_str(&format!("configuration reloaded, generation {generation} serves"));
        return print(&said);
    }
    let refused = format!("configuration refused, generation {generation} serves on:");
    Err(Fatal::new(code::REFUSED, [vec![refused], messages].concat().join("\n")))
}
