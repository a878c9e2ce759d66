//! `hitless reload`: the verdict on the configuration, for `ExecReload=` and for people.
//!
//! The program comes first: a configuration that only the new version understands is then read by it. When the program
//! cannot take over, the configuration is not loaded either, and the verdict is the upgrade's.

use std::path::Path;
use std::time::Duration;

use super::client::{self, Where};
use super::{Fatal, code, is_told_already, print, upgrade};
use crate::admin::Verdict;

/// The gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(150);

pub fn reload(place: &Where, directory: &Path) -> Result<(), Fatal> {
    upgrade::if_replaced(place, directory)?;
    let answer = client::ask(place, directory, "POST /reload", "reload", LIMIT)?;
    let text = String::from_utf8_lossy(&answer.body);
    let Ok(verdict) = serde_json::from_slice::<Verdict>(&answer.body) else {
        return Err(Fatal::new(code::UNAVAILABLE, format_args!("cannot reload: {}", text.trim())));
    };
    let Verdict { accepted, generation, messages, stopping } = verdict;
    if stopping {
        return Err(Fatal::new(code::REFUSED, messages.join("\n")));
    }
    if is_told_already() {
        return if accepted { Ok(()) } else { Err(Fatal::new(code::REFUSED, "")) };
    }
    if accepted {
        let mut said = messages.iter().map(|warning| format!("warning: {warning}\n")).collect::<String>();
        said.push_str(&format!("configuration reloaded, generation {generation} serves"));
        return print(&said);
    }
    let refused = format!("configuration refused, generation {generation} serves on:");
    Err(Fatal::new(code::REFUSED, [vec![refused], messages].concat().join("\n")))
}
