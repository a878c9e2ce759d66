//! A booted host, as a test sees it.

use super::Release;
use super::boot::Container;
use super::process::{self, Output, Running};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A throw-away Debian; gone when dropped.
pub struct Host {
    release: Release,
    container: Container,
}

impl Host {
    /// Boots and returns when the systemd inside has started everything.
    #[track_caller]
    pub fn boot(release: Release) -> Host {
        Host { release, container: Container::boot(release) }
    }

    pub fn release(&self) -> Release {
        self.release
    }

    /// The pid of the host's PID 1, as this machine sees it.
    pub fn leader(&self) -> u32 {
        self.container.leader
    }

    /// The folder of this machine that is this host's own.
    pub fn folder(&self) -> &Path {
        &self.container.folder
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Output {
        process::run(self.leader(), &words.into_iter().collect::<Vec<_>>())
    }

    /// Runs a shell script to its end.
    #[track_caller]
    pub fn shell(&self, script: &str) -> Output {
        self.run(["bash", "-c", script])
    }

    /// Starts a command beside the test.
    pub fn spawn<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Running {
        Running::start(self.leader(), &words.into_iter().collect::<Vec<_>>())
    }

    /// Where a path of the host is, for this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.leader())).join(path.trim_start_matches('/'))
    }

    /// Writes a file, with the folders above it.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// Copies a file of this machine into the host, with its mode.
    #[track_caller]
    pub fn put(&self, source: &Path, path: &str) {
        let target = self.path(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(source, &target)
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", source.display()));
        let mode = std::fs::metadata(source).unwrap().permissions().mode();
        std::fs::set_permissions(&target, PermissionsExt::from_mode(mode | 0o444)).unwrap();
    }

    /// Installs a package file, or upgrades to it; what the installation said.
    #[track_caller]
    pub fn install(&self, package: &Path) -> Output {
        self.put(package, "/root/package.deb");
        self.run(["dpkg", "--install", "/root/package.deb"])
    }

    /// A property of a unit.
    #[track_caller]
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.run(["systemctl", "show", "--value", "--property", property, unit]).ok()
    }
}
