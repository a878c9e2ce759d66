use crate::on_both_releases;
use crate::lab::*;
fn nothing(_: &crate::lab::Host) {}
on_both_releases! { with nothing;
fn boots(host: Host) {
    println!("{}", host.run(["systemctl", "is-system-running"]).stdout);
    println!("{}", host.run(["systemctl", "--failed"]).stdout);
    println!("{}", host.install(&crate::lab::package()).ok());
    println!("{}", host.shell("systemctl status hitless.socket hitless; ls /proc/$$/; cat /proc/1/cgroup; journalctl -u hitless -u hitless.socket; ss -ltnp; systemctl show -p LimitNOFILE hitless; systemd-analyze security hitless | tail -20; systemd-analyze verify hitless.service hitless.socket; cat /proc/$(systemctl show -P MainPID hitless)/limits").stdout);
    println!("{:?}", host.get("x", "/"));
    println!("{:?}", host.steady("x", "/", 2).stop());
}
}
