//! `hitless upgrade`: the program on disk takes over from the one that runs, which says how that went.
//!
//! Promises: it ends when there is a verdict; when the keeper dies over it, that is noticed.
//! Must not know: how it is done.

use std::path::Path;
use std::time::Duration;

use super::client::{self, Where};
use super::{Fatal, code, is_told_already, print};
use crate::handover::control::Upgrade;

/// The keeper itself gives up before.
const LIMIT: Duration = Duration::from_secs(150);
const STATUS_LIMIT: Duration = Duration::from_secs(10);

pub fn upgrade(place: &Where, directory: &Path) -> Result<(), Fatal> {
    let answer = client::ask(place, directory, "POST /upgrade", "upgrade", LIMIT)?;
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status == 404 {
        return Err(too_old());
    }
    let Ok(upgrade) = serde_json::from_slice::<Upgrade>(&answer.body) else {
        let why =
            if text.is_empty() { "the keeper died over it; see journalctl -u hitless" } else { text.trim() };
        return Err(Fatal::new(code::UNAVAILABLE, format_args!("cannot upgrade: {why}")));
    };
    let Upgrade { accepted, version, reason, needs_restart, probation } = upgrade;
    let told = is_told_already();
    if accepted {
        let said = format!("upgraded: hitless {version} serves, on probation for {probation:?}");
        return if told { Ok(()) } else { print(&said) };
    }
    let code = if needs_restart { code::PROTOCOL } else { code::REFUSED };
    let said = format!("not upgraded, everything is as it was: {reason}");
    Err(Fatal::new(code, if told { "" } else { &said }))
}

fn too_old() -> Fatal {
    Fatal::new(
        code::PROTOCOL,
        "cannot upgrade: what runs is too old for that; run: systemctl restart hitless",
    )
}

/// When the program's file is another one than what serves.
pub fn if_replaced(place: &Where, directory: &Path) -> Result<(), Fatal> {
    let answer = client::ask(place, directory, "GET /status", "reload", STATUS_LIMIT)?;
    match serde_json::from_slice::<serde_json::Value>(&answer.body)
        .unwrap_or_default()
        .get("program_replaced")
    {
        Some(serde_json::Value::Bool(true)) => upgrade(place, directory),
        Some(_) => Ok(()),
        None => Err(too_old()),
    }
}
