//! A thread that makes no progress is a missed watchdog.

use crate::lab::{Host, Running};
use crate::on_both_releases;
use crate::scene::{self, SHOP};

/// Stops one thread of a process, as a kernel bug or a page that never comes would: ptrace(2)
/// SEIZE and INTERRUPT, then waits for ever.
const WEDGE: &str = r#"
import ctypes, os, sys
tid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
for request in (0x4206, 0x4207):
    if libc.ptrace(request, tid, None, None):
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(tid, 0x40000000)
print("wedged", flush=True)
os.read(0, 1) if os.isatty(0) else __import__("signal").pause()
"#;

/// The gateway's only data thread, by its name.
fn data_thread(host: &Host) -> String {
    let gateway = scene::gateway(host).unwrap();
    let threads = host.run(["ps", "-L", "-o", "lwp=,comm=", "-p", &gateway]).ok();
    let found =
        threads.lines().find(|line| line.contains("data")).and_then(|line| line.split_whitespace().next());
    found.unwrap_or_else(|| panic!("no data thread: {threads}")).to_owned()
}

fn wedge(host: &Host, thread: &str) -> Running {
    let wedge = host.spawn(["python3", "-c", WEDGE, thread]);
    wedge.wait_for(|line| (line == "wedged").then_some(()));
    wedge
}

on_both_releases! {
    with scene::shop;

    fn a_wedged_data_thread_gets_the_daemon_restarted_and_what_waits_is_served(host: Host) {
        host.write("/etc/hitless/hitless.toml", "[daemon]\nthreads = 1\n");
        scene::edit_unit(&host, "WatchdogSec=3");
        let keeper = scene::keeper(&host);
        let before = host.journal_end();

        let _wedged = wedge(&host, &data_thread(&host));
        let waiting = host.get_later(SHOP, "/");

        host.wait_journal(&before, |entry| entry.message().contains("Watchdog timeout"));
        assert_eq!(waiting.join().unwrap().unwrap().status, 200);
        assert_ne!(scene::keeper(&host), keeper);
    }

    fn a_busy_daemon_meets_its_watchdog(host: Host) {
        scene::edit_unit(&host, "WatchdogSec=3");
        let keeper = scene::keeper(&host);
        let steady = host.steady(SHOP, "/", 8);
        assert_eq!(host.get(SHOP, "/slow?ms=7000").status, 200);
        assert_eq!(steady.stop().failed, Vec::<String>::new());
        assert_eq!(scene::keeper(&host), keeper);
    }
}
