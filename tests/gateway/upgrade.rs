//! Upgrading: another program takes over under the same keeper, or nothing has happened.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;

use crate::byhand::Wire;
use crate::daemon::{BINARY, Daemon, Folder, Process, ask, eventually, get, stderr};
use crate::origin::Origin;

/// A daemon whose program is a file of its own, which the test can replace.
struct Installed {
    daemon: Daemon,
    address: String,
}

fn installed_with(settings: &str, origin: Option<&Origin>) -> Installed {
    let folder = Folder::listening_with(settings);
    folder.answering("blog", "hello");
    if let Some(origin) = origin {
        folder.passing("shop", &origin.address);
    }
    install(&folder);
    let mut command = Command::new(program(&folder));
    command.args(["run", "--config"]).arg(folder.path()).env_remove("JOURNAL_STREAM");
    let daemon = folder.start_as(command).ready();
    let address = daemon.address();
    Installed { daemon, address }
}

fn installed() -> Installed {
    installed_with("[upgrade]\nprobation = \"30s\"", None)
}

fn program(folder: &Folder) -> PathBuf {
    folder.path().join("hitless")
}

/// As a package does it: beside the old one, and then in its place.
fn install(folder: &Folder) {
    let new = folder.path().join("hitless.new");
    fs::copy(BINARY, &new).unwrap();
    fs::rename(new, program(folder)).unwrap();
}

fn install_script(folder: &Folder, text: &str) {
    folder.write("hitless", &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(program(folder), Permissions::from_mode(0o755)).unwrap();
}

fn inode(path: impl Into<PathBuf>) -> Option<u64> {
    fs::metadata(path.into()).ok().map(|file| file.ino())
}

impl Installed {
    fn install(&self) {
        install(&self.daemon.folder);
    }

    fn install_script(&self, text: &str) {
        install_script(&self.daemon.folder, text);
    }

    fn upgrade(&self) -> Output {
        self.daemon.folder.verb("upgrade")
    }

    fn upgrade_later(&self) -> Child {
        let mut command = self.daemon.folder.command("upgrade");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[track_caller]
    fn upgrades(&self) {
        let output = self.upgrade();
        assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", self.daemon.log());
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("upgraded: hitless "), "{output:?}");
    }

    /// Nothing has changed, and the reason was said.
    #[track_caller]
    fn refuses(&self, reason: &str) {
        let before = self.daemon.gateway().pid;
        let output = self.upgrade();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("not upgraded, everything is as it was: ") && said.contains(reason), "{said}");
        assert_eq!(self.daemon.gateway().pid, before);
        assert!(self.serves());
    }

    fn serves(&self) -> bool {
        get(&self.address, "blog.test", "/").ends_with("\r\n\r\nhello")
    }

    /// Waits until the keeper is what lies on the disk.
    fn keeper_is_on_disk(&self) {
        let keeper = format!("/proc/{}/exe", self.daemon.keeper.id());
        eventually(|| (inode(&keeper) == inode(program(&self.daemon.folder))).then_some(()));
    }

    fn children(&self) -> usize {
        let path = format!("/proc/{0}/task/{0}/children", self.daemon.keeper.id());
        fs::read_to_string(path).unwrap().split_whitespace().count()
    }
}

#[test]
fn an_upgrade_replaces_the_gateway_and_then_the_keeper_in_place() {
    let mut it = installed_with("[upgrade]\nprobation = \"0s\"", None);
    let mut idle = Wire::to(&it.address);
    assert_eq!(idle.get("blog.test", "/").text(), "hello");
    for _ in 0..3 {
        let before = it.daemon.gateway().pid;
        it.install();
        it.upgrades();
        it.keeper_is_on_disk();
        let gateway = it.daemon.gateway();
        assert_ne!(gateway.pid, before);
        assert_eq!(inode(format!("/proc/{}/exe", gateway.pid)), inode(program(&it.daemon.folder)));
        assert_eq!(idle.get("blog.test", "/").text(), "hello", "on the same connection");
        assert!(it.serves());
    }
    eventually(|| (it.children() == 1).then_some(()));
    // What a keeper hears and says goes on: signals, the state of its gateways.
    it.daemon.folder.answering("news", "new");
    it.daemon.signal(Signal::HUP);
    it.daemon.told("serving 2 services on http (1 socket), generation 2");
    it.daemon.gateway().signal(Signal::KILL);
    it.daemon.told("the gateway died once");
    assert!(get(&it.address, "news.test", "/").ends_with("\r\n\r\nnew"));
    it.daemon.signal(Signal::TERM);
    assert_eq!(it.daemon.ends().code(), Some(0));
    assert!(!it.daemon.folder.admin().exists(), "the admin socket is left behind");
}

#[test]
fn a_program_that_is_broken_is_refused_with_its_reason() {
    let mut it = installed();
    it.install_script("echo 'cannot find libssl' >&2; exit 1");
    it.refuses("its self-test exited with code 1: cannot find libssl");
    it.daemon.told("; not upgraded at ");
    it.install_script("exit 0");
    it.refuses("its self-test did not say what version it is");
    it.install_script("kill -9 $$");
    it.refuses("its self-test was killed by signal 9");
    let whole = fs::read(BINARY).unwrap();
    let truncated = it.daemon.folder.path().join("truncated");
    fs::write(&truncated, &whole[..whole.len() / 3]).unwrap();
    fs::set_permissions(&truncated, Permissions::from_mode(0o755)).unwrap();
    fs::rename(truncated, program(&it.daemon.folder)).unwrap();
    it.refuses("");
    fs::remove_file(program(&it.daemon.folder)).unwrap();
    it.refuses("cannot run '");
    assert_eq!(it.children(), 1, "whatever was tried is reaped");
}

#[test]
fn a_version_that_speaks_another_language_needs_a_restart_and_says_so_by_its_code() {
    let it = installed();
    it.install_script(r#"echo '{"version":"9.0.0","control":99,"record":1,"state":1}'"#);
    for verb in ["upgrade", "reload"] {
        let output = it.daemon.folder.verb(verb);
        assert_eq!(output.status.code(), Some(76), "{output:?}");
        assert!(stderr(&output).contains("the two versions cannot speak with each other"), "{output:?}");
    }
    assert!(it.serves());
}

#[test]
fn a_gateway_that_does_not_get_ready_is_refused() {
    let it = installed();
    it.install_script(&format!("[ $1 = self-test ] && exec {BINARY} self-test; exit 3"));
    it.refuses("the incoming gateway exited with code 3");
    assert_eq!(it.children(), 1);
}

#[test]
fn a_new_gateway_that_dies_on_probation_is_replaced_by_the_old_program() {
    let mut it = installed();
    let old = inode(program(&it.daemon.folder)).unwrap();
    it.install();
    it.upgrades();
    it.daemon.gateway().signal(Signal::KILL);
    it.daemon.told("; not upgraded at ");
    assert!(it.serves());
    let gateway = it.daemon.gateway();
    assert_eq!(inode(format!("/proc/{}/exe", gateway.pid)), Some(old));
    assert_eq!(inode(format!("/proc/{}/exe", it.daemon.keeper.id())), Some(old));
    assert!(it.daemon.log().contains("upgrade rolled back: the new gateway was killed by signal 9"));
    // The same program may be tried again.
    it.upgrades();
    assert!(it.serves());
}

#[test]
fn a_new_gateway_that_dies_while_it_takes_over_gives_everything_back() {
    let origin = Origin::start();
    let mut it = installed_with("[upgrade]\nprobation = \"30s\"", Some(&origin));
    let mut idle = Wire::to(&it.address);
    assert_eq!(idle.get("blog.test", "/").text(), "hello");
    let old = it.daemon.gateway();
    let slow = ask(&it.address, "shop.test", "/slow");
    origin.has_one();
    it.install();
    let upgrading = it.upgrade_later();
    let new = eventually(|| {
        let pid = it.daemon.status()["pid"].as_i64().unwrap() as i32;
        (pid != old.pid).then(|| Process::open(pid))
    });
    new.signal(Signal::KILL);
    let output = upgrading.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("the incoming gateway was killed by signal 9"), "{output:?}");
    assert!(it.serves());
    assert_eq!(it.daemon.gateway().pid, old.pid);
    origin.release();
    assert!(slow.answer().ends_with("\r\n\r\ndone"));
    it.daemon.signal(Signal::TERM);
    assert_eq!(it.daemon.ends().code(), Some(0));
}

#[test]
fn what_is_in_flight_is_answered_by_the_outgoing_gateway_whose_number_is_capped() {
    let origin = Origin::start();
    let settings = "[upgrade]\nprobation = \"0s\"\noutgoing = 1";
    let it = installed_with(settings, Some(&origin));
    let slow = ask(&it.address, "shop.test", "/slow");
    origin.has_one();
    let old = it.daemon.gateway();
    it.install();
    it.upgrades();
    it.keeper_is_on_disk();
    it.install();
    it.refuses("1 outgoing gateways of earlier upgrades still finish what they have");
    origin.release();
    assert!(slow.answer().ends_with("\r\n\r\ndone"));
    old.ends();
    eventually(|| (it.children() == 1).then_some(()));
    it.upgrades();
    it.keeper_is_on_disk();
    assert!(it.serves());
}

#[test]
fn a_stop_ends_an_upgrade_that_is_under_way() {
    let mut it = installed();
    let marker = it.daemon.folder.path().join("begun");
    it.install_script(&format!(
        "[ $1 = self-test ] && exec {BINARY} self-test; echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000",
        marker.display()
    ));
    let upgrading = it.upgrade_later();
    let hangs = eventually(|| fs::read_to_string(&marker).ok());
    let hangs = Process::open(hangs.trim().parse().unwrap());
    it.daemon.signal(Signal::TERM);
    let output = upgrading.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("hitless is stopping"), "{output:?}");
    assert_eq!(it.daemon.ends().code(), Some(0));
    hangs.ends();
}

#[test]
fn a_second_upgrade_at_the_same_time_is_refused() {
    let mut it = installed();
    // A self-test that never says anything, so that the first upgrade stays under way; it ends with the keeper.
    it.install_script("sleep 1000");
    let mut first = it.upgrade_later();
    eventually(|| (it.children() == 2).then_some(()));
    it.refuses("another upgrade is under way");
    it.daemon.signal(Signal::TERM);
    assert_eq!(it.daemon.ends().code(), Some(0));
    assert_eq!(first.wait().unwrap().code(), Some(1));
}

#[test]
fn a_reload_upgrades_first_when_the_program_was_replaced_and_only_then() {
    let mut it = installed_with("[upgrade]\nprobation = \"0s\"", None);
    let before = it.daemon.gateway().pid;
    it.daemon.reloads();
    assert_eq!(it.daemon.gateway().pid, before, "the program is the same");
    it.install();
    it.daemon.folder.answering("news", "new");
    let output = it.daemon.folder.verb("reload");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_ne!(it.daemon.gateway().pid, before);
    assert!(
        get(&it.address, "news.test", "/").ends_with("\r\n\r\nnew"),
        "the configuration is loaded as well"
    );
    it.keeper_is_on_disk();
    // A broken program keeps a configuration from being loaded, and says why.
    it.install_script("exit 1");
    let output = it.daemon.folder.verb("reload");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(it.daemon.status()["generation"], 3);
}

#[test]
fn the_watchdog_goes_on_through_an_upgrade() {
    let folder = Folder::listening_with("[upgrade]\nprobation = \"0s\"");
    folder.answering("blog", "hello");
    install(&folder);
    let mut command = Command::new(program(&folder));
    command.args(["run", "--config"]).arg(folder.path()).env_remove("JOURNAL_STREAM");
    command.env("WATCHDOG_USEC", "2000000");
    let daemon = folder.start_as(command).ready();
    let address = daemon.address();
    let mut it = Installed { daemon, address };
    it.daemon.told("WATCHDOG=1");
    it.install();
    it.upgrades();
    it.keeper_is_on_disk();
    it.daemon.told("WATCHDOG=1");
    it.daemon.told("WATCHDOG=1");
    assert!(!it.daemon.log().contains("killing the gateway"));
}
