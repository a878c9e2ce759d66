//! `hitless polkit`: the rule that lets hitless start and stop the units that `idle-stop` names, and nothing else.
//!
//! Promises: units by their exact names, only to be started and stopped. Since a rule like this also allows a transient unit
//! of the same name where no unit file is (systemd 257), a unit without a file is left out and named.
//! Must not know: where polkit keeps its rules.

use std::path::Path;

use super::{Fatal, code, print};
use crate::config;

/// Where unit files are (systemd.unit(5)).
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

pub fn polkit(directory: &Path) -> Result<(), Fatal> {
    let loaded = config::read(directory).and_then(|sources| config::parse(&sources));
    let loaded = loaded.map_err(|errors| Fatal::new(code::CONFIG, errors))?;
    let idle = loaded.settings.services.iter().filter(|service| service.unit.idle_stop.is_some());
    let units: Vec<String> = idle.filter_map(|service| service.unit.name.clone()).collect();
    let (there, missing): (Vec<_>, Vec<_>) = units.into_iter().partition(|unit| has_file(unit));
    print(&rule(&there, &missing))
}

fn has_file(unit: &str) -> bool {
    let template = unit.split_once('@').map(|(stem, _)| format!("{stem}@.service"));
    let names = [Some(unit.to_owned()), template];
    names.iter().flatten().any(|name| FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists()))
}

fn rule(units: &[String], missing: &[String]) -> String {
    let mut text = String::from(
        "// For /etc/polkit-1/rules.d/50-hitless.rules: hitless may start and stop what 'idle-stop' names.\n",
    );
    for unit in missing {
        text.push_str(&format!("// Left out, because there is no unit file of it: {unit}\n"));
    }
    if units.is_empty() {
        text.push_str("// No service has 'idle-stop' and a unit: no rule is needed.\n");
        return text;
    }
    // Unit names hold no quote; a backslash is one of systemd's own escapes.
    let names: Vec<String> = units.iter().map(|unit| format!("\"{}\"", unit.replace('\\', "\\\\"))).collect();
    text.push_str(&format!(
        "polkit.addRule(function(action, subject) {{\n    \
             var units = [{}];\n    \
             var verbs = [\"start\", \"stop\"];\n    \
             if (action.id == \"org.freedesktop.systemd1.manage-units\" && subject.user == \"hitless\" &&\n        \
                 units.indexOf(action.lookup(\"unit\")) >= 0 && verbs.indexOf(action.lookup(\"verb\")) >= 0) {{\n        \
                 return polkit.Result.YES;\n    \
             }}\n}});\n",
        names.join(", ")
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_may_be_started_and_stopped() {
        let text = rule(&["shop.service".into(), "a@x\\x2d.service".into()], &["gone.service".into()]);
        assert!(text.contains("var units = [\"shop.service\", \"a@x\\\\x2d.service\"];"), "{text}");
        assert!(text.contains("no unit file of it: gone.service") && !text.contains("restart"), "{text}");
        assert!(rule(&[], &[]).ends_with("no rule is needed.\n"));
    }
}
