//! `hitless doctor` on a real installation.

use crate::on_both_releases;
use crate::scene;

on_both_releases! {
    with scene::installed;

    fn a_default_installation_has_nothing_that_breaks_the_promise(host: Host) {
        let found = host.run(["hitless", "doctor"]);
        assert!(found.stdout.ends_with("nothing here breaks the promise\n"), "{}", found.stdout);
        assert_eq!(found.status, 0, "{}", found.stdout);
        assert!(!found.stdout.contains("weakens it"), "{}", found.stdout);
    }

    fn a_broken_setting_is_named_with_a_remedy_that_cures_it(host: Host) {
        for (unit, section, setting, broken) in [
            ("hitless.service", "Service", "KillMode", "control-group"),
            ("hitless.service", "Unit", "StartLimitIntervalSec", "10"),
            ("hitless.socket", "Socket", "TriggerLimitIntervalSec", "2s"),
        ] {
            let folder = format!("/etc/systemd/system/{unit}.d");
            host.write(&format!("{folder}/operator.conf"), &format!("[{section}]\n{setting}={broken}\n"));
            host.run(["systemctl", "daemon-reload"]).ok();
            let found = host.run(["hitless", "doctor"]);
            assert_eq!(found.status, 1, "{}", found.stdout);
            let heading = format!("breaks the promise: {unit}: {setting}=");
            let (_, finding) = found.stdout.split_once(&heading).unwrap_or_else(|| panic!("{}", found.stdout));
            let (_, remedy) = finding.split_once("remedy:\n").unwrap();
            let (remedy, _) = remedy.split_once("\n\n").unwrap();
            host.shell(remedy).ok();
            let cured = host.run(["hitless", "doctor"]);
            assert_eq!(cured.status, 0, "{setting}: {}", cured.stdout);
        }
    }
}
