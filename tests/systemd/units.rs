//! The unit files themselves.

use crate::on_both_releases;
use crate::scene;

on_both_releases! {
    with scene::installed;

    fn the_units_are_known_to_this_systemd_word_for_word(host: Host) {
        let verdict = host.run(["systemd-analyze", "verify", "--man=no", "hitless.service", "hitless.socket", "hitless-https.socket"]);
        assert_eq!(format!("{}{}", verdict.stdout, verdict.stderr), "");
    }

    fn the_exposure_is_at_most_one_point_two(host: Host) {
        host.run(["systemd-analyze", "security", "--threshold=12", "--no-pager", "hitless.service"]).ok();
    }

    fn a_hard_limit_below_the_wanted_one_is_taken_as_it_is(host: Host) {
        let limits = "grep 'Max open files' /proc/$(systemctl show -P MainPID hitless)/limits";
        let words = host.shell(limits).ok();
        let mut numbers = words.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (soft, hard) = (numbers.next().unwrap(), numbers.next().unwrap());
        assert_eq!(soft, hard);
        assert!(soft > 1024, "{words}");
    }

    fn nothing_of_its_memory_can_be_dumped_to_disk(host: Host) {
        let limits = host.shell("grep 'Max core file size' /proc/$(systemctl show -P MainPID hitless)/limits").ok();
        let numbers: Vec<_> = limits.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).collect();
        assert_eq!(numbers, [0, 0], "{limits}");
    }

    fn the_port_for_tls_is_opened_by_who_asks_for_it_and_closed_with_the_others(host: Host) {
        assert_eq!(host.show("hitless-https.socket", "UnitFileState"), "disabled");
        assert!(host.connect(443).is_err());

        let opened = host.show("hitless.socket", "ActiveEnterTimestampMonotonic");
        scene::listen_on_443(&host);
        host.run(["systemctl", "enable", "hitless-https.socket"]).ok();
        host.run(["systemctl", "restart", "hitless"]).ok();
        host.connect(443).unwrap();
        assert_eq!(host.show("hitless.socket", "ActiveEnterTimestampMonotonic"), opened, "the other one stays open");

        host.run(["systemctl", "stop", "hitless.socket", "hitless.service"]).ok();
        assert!(host.connect(443).is_err());
        assert_eq!(host.show("hitless.service", "ActiveState"), "inactive");
        host.run(["systemctl", "start", "hitless.socket", "hitless.service"]).ok();
        host.connect(443).unwrap();

        host.run(["dpkg", "--remove", "hitless"]).ok();
        assert!(host.connect(443).is_err());
    }

    fn both_units_come_back_with_the_machine(host: Host) {
        assert_eq!(host.show("hitless.socket", "UnitFileState"), "enabled");
        assert_eq!(host.show("hitless.service", "UnitFileState"), "enabled");
        let needs = host.run(["systemctl", "list-dependencies", "--plain", "multi-user.target", "sockets.target"]).ok();
        assert!(needs.contains("hitless.service") && needs.contains("hitless.socket"), "{needs}");
    }
}
