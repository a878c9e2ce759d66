//! The scenes that tests begin with, and the questions that several of them ask.

use crate::lab::{self, Host};

/// The name of the shop in requests.
pub const SHOP: &str = "shop.example";

const SHOP_FILE: &str = "/etc/hitless/services.d/shop.toml";

/// Nothing but Debian.
pub fn bare(_: &Host) {}

/// hitless installed, no service yet.
pub fn installed(host: &Host) {
    host.install(&lab::package()).ok();
}

/// hitless installed, in front of the sample application.
pub fn shop(host: &Host) {
    installed(host);
    host.put(&lab::example("sample"), "/usr/local/bin/sample");
    host.put(&lab::tree().join("examples/sample/sample@.service"), "/etc/systemd/system/sample@.service");
    host.shell("systemctl daemon-reload && systemctl start sample@3001").ok();
    host.write(SHOP_FILE, "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3001\"]\n");
    host.run(["systemctl", "reload", "hitless"]).ok();
    assert_eq!(host.get(SHOP, "/").status, 200);
}

/// A service file with a typing error.
pub fn break_configuration(host: &Host) {
    host.write(SHOP_FILE, "[service.shop]\nhosts = [\"shop.example\"]\nendpoint = [\"127.0.0.1:3001\"]\n");
}

/// Writes hitless.toml and lets the daemon take it.
#[track_caller]
pub fn configure(host: &Host, text: &str) {
    host.write("/etc/hitless/hitless.toml", text);
    host.run(["systemctl", "reload", "hitless"]).ok();
}

/// Sets settings of the service unit, as `systemctl edit` does, and restarts it.
#[track_caller]
pub fn edit_unit(host: &Host, settings: &str) {
    host.write("/etc/systemd/system/hitless.service.d/test.conf", &format!("[Service]\n{settings}\n"));
    host.shell("systemctl daemon-reload && systemctl restart hitless").ok();
}

/// The keeper's pid inside the host.
#[track_caller]
pub fn keeper(host: &Host) -> String {
    host.show("hitless.service", "MainPID")
}

/// The pid inside the host of the gateway that serves now, if there is one.
#[track_caller]
pub fn gateway(host: &Host) -> Option<String> {
    let children = host.run(["pgrep", "--parent", &keeper(host)]).stdout;
    children.lines().next().map(str::to_owned)
}

/// systemd killed nothing and reports a success.
#[track_caller]
pub fn ended_well(host: &Host) {
    assert_eq!(host.show("hitless.service", "Result"), "success");
    assert_eq!(host.show("hitless.service", "ExecMainStatus"), "0");
    let said: Vec<String> = host.journal(["_PID=1"]).iter().map(|entry| entry.message()).collect();
    let killed = said.iter().find(|line| line.contains("SIGKILL") || line.contains("timed out"));
    assert_eq!(killed, None);
}
