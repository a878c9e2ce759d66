//! `hitless check` through the command line: the golden messages, and what it explains.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::daemon::{BINARY, Folder, stderr};

fn check(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("check").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn broken() -> Vec<PathBuf> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken");
    let mut folders: Vec<_> = folders.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_broken_configuration_gets_its_golden_messages_and_78() {
    let folders = broken();
    assert!(folders.len() >= 20);
    for folder in folders {
        let path = folder.to_str().unwrap();
        let output = check(&[path]);
        let said = stderr(&output).replace(&format!("{path}/"), "");
        let golden = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
        assert_eq!(said, golden, "{path}");
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(78), ""), "{path}");
    }
}

#[test]
fn a_start_and_a_reload_refuse_each_of_them_in_the_same_words() {
    let folder = Folder::listening();
    folder.answering("blog", "still here");
    let daemon = folder.start().ready();
    let (dir, socket) = (daemon.folder.path().to_owned(), daemon.folder.admin());
    let address = daemon.address();
    for broken in broken() {
        let golden = std::fs::read_to_string(broken.join("expected.txt")).unwrap();
        let _ = std::fs::remove_file(dir.join("hitless.toml"));
        std::fs::remove_dir_all(dir.join("services.d")).unwrap();
        let copied = Command::new("cp").arg("-a").arg(broken.join(".")).arg(&dir).status().unwrap();
        assert!(copied.success());
        let relative = |output: &Output| stderr(output).replace(&format!("{}/", dir.display()), "");
        let start = daemon.folder.verb("run");
        assert_eq!((start.status.code(), relative(&start)), (Some(78), golden.clone()), "{broken:?}");
        let reload = daemon.folder.command("reload").arg("--socket").arg(&socket).output().unwrap();
        let refused = format!("configuration refused, generation 1 serves on:\n{golden}");
        assert_eq!((reload.status.code(), relative(&reload)), (Some(1), refused), "{broken:?}");
        std::fs::create_dir_all(dir.join("services.d")).unwrap();
    }
    let mut asked = crate::byhand::Wire::to(&address);
    assert_eq!(asked.get("blog.test", "/").text(), "still here");
}

#[test]
fn what_is_shown_says_where_each_value_comes_from() {
    let folder = Folder::listening_with("[drain]\ndeadline = \"30s\"");
    folder.passing("blog", "127.0.0.1:3000");
    let shown = stdout(&check(&["--show", folder.path().to_str().unwrap()]));
    let line = |start: &str| {
        shown
            .lines()
            .find(|line| line.trim_start().starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {shown}"))
    };
    assert!(line("deadline =").contains("30s") && line("deadline =").contains("hitless.toml:"), "{shown}");
    assert!(line("idle-grace =").contains("default"), "{shown}");
    assert!(line("endpoints =").contains("blog.toml:3"), "{shown}");
}

#[test]
fn each_key_that_the_schema_knows_is_explained() {
    for (key, words) in [
        ("drain.deadline", "the longest that requests in flight are waited for"),
        ("service.NAME.endpoints", "where the application listens"),
        ("forwarded.trusted", "X-Forwarded-*"),
        ("service.NAME.route.redirect", "{ to = "),
    ] {
        let output = check(&["--explain", key]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).contains(words), "{output:?}");
    }
    let unknown = check(&["--explain", "drain.deadlin"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(stderr(&unknown).contains("drain.deadline"), "with a suggestion: {unknown:?}");
    let schema: serde_json::Value = serde_json::from_slice(&check(&["--schema"]).stdout).unwrap();
    assert!(schema["properties"]["drain"]["properties"]["deadline"].is_object(), "{schema:#}");
}
