//! Starting: ready means ready, and what is wrong is said before anything is served.

use crate::daemon::{Folder, admin, get, stderr};

/// The gateway was called `exe` in ps(1) and in the journal's `_COMM=`.
#[test]
fn each_process_and_thread_has_a_name() {
    let daemon = Folder::listening().start().ready();
    let name = |path: String| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let gateway = daemon.gateway().pid;
    assert_eq!(name(format!("/proc/{}/comm", daemon.keeper.id())), "hitless");
    assert_eq!(name(format!("/proc/{gateway}/comm")), "hitless-gw");
    let tasks = std::fs::read_dir(format!("/proc/{gateway}/task")).unwrap().map(|task| task.unwrap().path());
    let names: Vec<_> = tasks.map(|task| name(format!("{}/comm", task.display()))).collect();
    assert!(names.contains(&"data-0".to_owned()), "{names:?}");
}

#[test]
fn ready_is_told_when_everything_answers() {
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    let mut daemon = folder.start();
    let told = daemon.told("READY=1");
    assert!(told.contains("STATUS=serving 1 service on http (1 socket), generation 1"), "{told}");
    assert!(get(&daemon.address(), "blog.test", "/").ends_with("\r\n\r\nhello"));
    assert!(admin(&daemon.folder, "GET /readyz").starts_with("HTTP/1.1 200 OK"));
    assert!(admin(&daemon.folder, "GET /healthz").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn with_no_service_it_is_ready_answers_404_and_says_what_to_do_next() {
    let mut daemon = Folder::listening().start();
    assert!(daemon.told("READY=1").contains("STATUS=no service yet: put a file into "));
    assert!(get(&daemon.address(), "blog.test", "/").starts_with("HTTP/1.1 404 "));
    let status = daemon.folder.verb("status");
    assert!(String::from_utf8_lossy(&status.stdout).contains("[service.blog]"));
}

#[test]
fn a_wrong_configuration_ends_the_start_with_every_error() {
    let folder = Folder::listening();
    folder.service("blog", "hots = [\"blog.test\"]\nendpoints = [\"nowhere\"]");
    folder.write("services.d/shop.toml", "[service.shop]\nendpoints = 3\n");
    let output = folder.verb("run");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let (said, checked) = (stderr(&output), stderr(&folder.verb("check")));
    assert!(said.contains("blog.toml:2:1: ") && said.contains("shop.toml:2:"), "{said}");
    assert_eq!(said, checked, "check says the same");
}

#[test]
fn a_port_that_is_taken_is_explained() {
    let (address, _taken) = crate::daemon::listener();
    let folder = Folder::new(&format!("[listener.http]\nlisten = [\"{address}\"]\n"));
    let output = folder.verb("run");
    assert_eq!(output.status.code(), Some(69));
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot bind listener 'http' to '{address}': address")), "{said}");
    assert!(said.contains("; see who has it with: ss -ltnp"), "{said}");
}

#[test]
fn without_a_running_hitless_the_verbs_say_so() {
    let folder = Folder::listening();
    for verb in ["status", "reload"] {
        let output = folder.verb(verb);
        assert_eq!(output.status.code(), Some(69));
        assert!(stderr(&output).contains("is it running? see systemctl status hitless"), "{output:?}");
    }
}

#[test]
fn a_second_hitless_does_not_take_over_the_admin_socket() {
    let daemon = Folder::listening().start().ready();
    let output = daemon.folder.verb("run");
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("perhaps another hitless"), "{output:?}");
    assert!(admin(&daemon.folder, "GET /readyz").starts_with("HTTP/1.1 200 OK"));
}
