//! The unit files themselves.

use crate::on_both_releases;
use crate::scene;

on_both_releases! {
    with scene::installed;

    fn the_units_are_known_to_this_systemd_word_for_word(host: Host) {
        let verdict = host.run(["systemd-analyze", "verify", "--man=no", "hitless.service", "hitless.socket"]);
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

    fn both_units_come_back_with_the_machine(host: Host) {
        assert_eq!(host.show("hitless.socket", "UnitFileState"), "enabled");
        assert_eq!(host.show("hitless.service", "UnitFileState"), "enabled");
        let needs = host.run(["systemctl", "list-dependencies", "--plain", "multi-user.target", "sockets.target"]).ok();
        assert!(needs.contains("hitless.service") && needs.contains("hitless.socket"), "{needs}");
    }
}
