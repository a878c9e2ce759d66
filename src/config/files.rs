//! The files of a configuration folder, and the error pages that they name, read whole into memory.
//!
//! Promises: `hitless.toml` first, then `services.d/*.toml` in the order of their names, then pages; hidden
//! files and what packages and editors leave behind are not read; nothing that is not a regular
//! file is opened, and nothing too big is read; every file that cannot be read is reported.
//! Must not know: TOML.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::{Message, quote, quote_path};
use super::pages;

/// The biggest file that is read.
const LARGEST: u64 = 16 * 1024 * 1024;
/// The most that all files together may hold: a snapshot is kept in memory by both processes.
const LARGEST_SUM: u64 = 64 * 1024 * 1024;
/// So many names are told.
const NAMED: usize = 3;
const MAIN: &str = "hitless.toml";
const SERVICES: &str = "services.d";

/// The biggest error page that is read.
const LARGEST_PAGE: u64 = 64 * 1024;

/// One file: its path as shown, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Everything that was read: the content of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources(pub Vec<Source>);

impl Source {
    /// Whether this is an application's file, which may only speak of services.
    pub(super) fn is_of_services(&self) -> bool {
        Source::lies_among_services(Path::new(&self.name))
    }

    pub(super) fn lies_among_services(path: &Path) -> bool {
        path.parent().and_then(Path::file_name) == Some(OsStr::new(SERVICES))
    }

    /// Whether this is an error page: everything else is TOML, and says so by its name.
    pub(super) fn is_page(&self) -> bool {
        Path::new(&self.name).file_name().and_then(OsStr::to_str).and_then(pages::name).is_some()
    }
}

/// What is read, and how much more may be.
pub(super) struct Reading {
    pub sources: Sources,
    pub errors: Vec<Message>,
    left: u64,
}

/// Reads what can be read, and says what cannot.
pub(super) fn read(dir: &Path) -> Reading {
    let mut errors = Vec::new();
    let paths = paths(dir, &mut errors);
    let mut reading = Reading { sources: Sources::default(), errors, left: LARGEST_SUM };
    for path in paths {
        reading.file(&path, LARGEST);
    }
    reading
}

impl Reading {
    fn file(&mut self, path: &Path, most: u64) {
        match text(path, most, self.left) {
            Ok(text) => {
                self.left = self.left.saturating_sub(text.len() as u64);
                self.sources.0.push(Source { name: path.display().to_string(), text });
            }
            Err(refusal) => self.errors.push(refusal.about(path)),
        }
    }

    /// Reads the error pages of a folder. Anything else in it was probably meant to be one.
    pub fn pages(&mut self, folder: &Path) -> Result<(), Refusal> {
        let (pages, others): (Vec<_>, Vec<_>) = listed(folder)
            .map_err(|error| Refusal::folder_of_pages(folder, &error))?
            .into_iter()
            .filter(|path| !is_leftover(path))
            .partition(|path| page_of(path).is_some());
        for path in pages {
            self.file(&path, LARGEST_PAGE);
        }
        if others.is_empty() { Ok(()) } else { Err(Refusal::no_pages(folder, &others)) }
    }
}

fn page_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str).filter(|name| pages::name(name).is_some())
}

/// In the order of their names.
fn listed(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// What packages and editors leave behind.
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-")
}

/// Why a file is not read.
pub(super) struct Refusal {
    pub found: String,
    pub allowed: String,
    pub remedy: String,
}

fn paths(dir: &Path, errors: &mut Vec<Message>) -> Vec<PathBuf> {
    if let Err(error) = fs::read_dir(dir) {
        errors.push(Refusal::folder(&error).about(dir));
        return Vec::new();
    }
    let main = dir.join(MAIN);
    // A dangling link is there: the link is what the operator meant to be read.
    let mut paths: Vec<PathBuf> = main.symlink_metadata().is_ok().then_some(main).into_iter().collect();
    let services = dir.join(SERVICES);
    match listed(&services) {
        Ok(found) => paths.extend(found.into_iter().filter(|path| is_meant(path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && services.symlink_metadata().is_err() => {}
        Err(error) => errors.push(Refusal::folder(&error).about(&services)),
    }
    paths
}

fn is_meant(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    path.extension() == Some(OsStr::new("toml")) && !hidden
}

fn text(path: &Path, most: u64, left: u64) -> Result<String, Refusal> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(most.min(left) + 1).read_to_end(&mut bytes).map_err(|error| Refusal::file(path, &error))?;
    if bytes.len() as u64 > most.min(left) {
        return Err(Refusal::size(most, left));
    }
    String::from_utf8(bytes).map_err(|error| Refusal::encoding(&error))
}

fn open(path: &Path) -> Result<File, Refusal> {
    // Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
    let file =
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|error| match error
            .raw_os_error()
        {
            // What open(2) says of a socket.
            Some(libc::ENXIO) => Refusal::not_a_file(false),
            _ => Refusal::file(path, &error),
        })?;
    let metadata = file.metadata().map_err(|error| Refusal::file(path, &error))?;
    if metadata.is_file() { Ok(file) } else { Err(Refusal::not_a_file(metadata.is_dir())) }
}

impl Refusal {
    fn new(found: impl Into<String>, allowed: &str, remedy: &str) -> Refusal {
        Refusal { found: found.into(), allowed: allowed.into(), remedy: remedy.into() }
    }

    fn about(self, path: &Path) -> Message {
        let Refusal { found, allowed, remedy } = self;
        Message { found, allowed, remedy, ..Message::about(&path.display().to_string()) }
    }

    fn folder(error: &io::Error) -> Refusal {
        let found = format!("cannot read the folder: {}", cause(error));
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "create it, or name another one with --config",
            io::ErrorKind::PermissionDenied => "let the user of hitless read and enter it",
            io::ErrorKind::NotADirectory => {
                "name the folder, such as /etc/hitless: its files are read together"
            }
            _ => "make it a folder",
        };
        Refusal::new(found, "allowed: a folder with hitless.toml and services.d", remedy)
    }

    fn file(path: &Path, error: &io::Error) -> Refusal {
        if error.kind() == io::ErrorKind::NotFound
            && let Ok(to) = fs::read_link(path)
        {
            let found = format!("a symbolic link to {}, which does not exist", quote_path(&to));
            return Refusal::new(found, "allowed: a readable file", "create that file, or remove the link");
        }
        let found = format!("cannot read the file: {}", cause(error));
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "let the user of hitless read it, for example with chmod a+r",
            _ => "make it readable, or remove it",
        };
        Refusal::new(found, "allowed: a readable file", remedy)
    }

    fn folder_of_pages(folder: &Path, error: &io::Error) -> Refusal {
        let found = format!("cannot read the folder {}: {}", quote_path(folder), cause(error));
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "create it, or remove the key",
            io::ErrorKind::PermissionDenied => "let the user of hitless read and enter it",
            _ => "name a folder",
        };
        Refusal::new(found, "allowed: a folder of error pages", remedy)
    }

    fn no_pages(folder: &Path, others: &[PathBuf]) -> Refusal {
        let name = |path: &PathBuf| quote(&path.file_name().unwrap_or_default().to_string_lossy());
        let mut names: Vec<String> = others.iter().take(NAMED).map(name).collect();
        if others.len() > NAMED {
            names.push(format!("{} more", others.len() - NAMED));
        }
        let names = names.join(", ");
        let folder = quote_path(folder);
        let found = format!("{folder} holds {names}: no error page is called so");
        Refusal::new(found, pages::ALLOWED, "rename what is an error page, and move the rest elsewhere")
    }

    fn not_a_file(is_folder: bool) -> Refusal {
        let found = if is_folder { "found a folder" } else { "found a device, pipe or socket" };
        Refusal::new(found, "allowed: a readable file", "remove it, or give it another name")
    }

    fn size(most: u64, left: u64) -> Refusal {
        if left < most {
            let allowed = format!("allowed: {} MiB in all files together", LARGEST_SUM >> 20);
            return Refusal::new(
                "the configuration is too big",
                &allowed,
                "remove what is not configuration",
            );
        }
        if most == LARGEST_PAGE {
            let allowed = format!("allowed: {} KiB in one error page", LARGEST_PAGE >> 10);
            return Refusal::new("the file is too big", &allowed, "shorten it, and serve pictures elsewhere");
        }
        let allowed = format!("allowed: {} MiB in one file", LARGEST >> 20);
        Refusal::new("the file is too big", &allowed, "remove what is not configuration, or split the file")
    }

    fn encoding(error: &std::string::FromUtf8Error) -> Refusal {
        let upto = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = bytes[..upto].iter().filter(|byte| **byte == b'\n').count() + 1;
        let found = format!("line {line} holds the byte 0x{:02x}, which is not UTF-8", bytes[upto]);
        Refusal::new(found, "allowed: UTF-8", "save the file as UTF-8")
    }
}

/// The system's words for an error, without its number.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn names(sources: &Sources, dir: &Path) -> Vec<String> {
        let relative = |s: &Source| Path::new(&s.name).strip_prefix(dir).unwrap().display().to_string();
        sources.0.iter().map(relative).collect()
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names_and_leftovers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("services.d")).unwrap();
        let all = [
            "b.toml",
            "a.toml",
            "a.toml.dpkg-new",
            ".hidden.toml",
            ".toml",
            "a.toml~",
            "README",
            "x.toml.dpkg-old",
        ];
        for name in all {
            fs::write(dir.path().join("services.d").join(name), "").unwrap();
        }
        fs::write(dir.path().join("hitless.toml"), "").unwrap();
        let sources = read(dir.path()).unwrap();
        assert_eq!(names(&sources, dir.path()), ["hitless.toml", "services.d/a.toml", "services.d/b.toml"]);
        assert!(!sources.0[0].is_of_services() && sources.0[1].is_of_services());
    }

    #[test]
    fn an_empty_folder_is_a_configuration() {
        assert_eq!(read(tempfile::tempdir().unwrap().path()), Ok(Sources::default()));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let errors = read(&dir.path().join("none")).unwrap_err();
        assert!(errors.to_string().ends_with("create it, or name another one with --config"), "{errors}");
    }

    #[test]
    fn a_pipe_does_not_make_reading_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hitless.toml");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("found a device, pipe or socket"));
    }

    #[test]
    fn a_socket_is_called_one_and_a_file_in_place_of_the_folder_is_answered_with_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hitless.toml");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("found a device, pipe or socket"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("name the folder, such as /etc/hitless"));
    }

    #[test]
    fn a_file_that_is_too_big_is_not_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("hitless.toml")).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("allowed: 16 MiB in one file"));
    }

    #[test]
    fn all_files_together_are_bounded_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("services.d")).unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            let path = dir.path().join("services.d").join(name).with_extension("toml");
            File::create(path).unwrap().set_len(LARGEST - 1).unwrap();
        }
        let Reading { sources, errors, .. } = super::read(dir.path());
        assert_eq!((sources.0.len(), errors.len()), (4, 1));
        assert!(errors[0].to_string().contains("allowed: 64 MiB in all files together"));
    }

    #[test]
    fn an_error_page_that_is_too_big_is_not_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("errors")).unwrap();
        fs::write(dir.path().join("hitless.toml"), "errors.directory = \"errors\"").unwrap();
        let page = File::create(dir.path().join("errors/502.html")).unwrap();
        page.set_len(LARGEST_PAGE + 1).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("allowed: 64 KiB in one error page"));
        page.set_len(0).unwrap();
        let sources = read(dir.path()).unwrap();
        assert_eq!(names(&sources, dir.path()), ["hitless.toml", "errors/502.html"]);
    }

    #[test]
    fn a_snapshot_survives_its_journey() {
        let sources = Sources(vec![Source { name: "a.toml".into(), text: "é = \"\u{0}\"\n".into() }]);
        let json = serde_json::to_string(&sources).unwrap();
        assert_eq!(serde_json::from_str::<Sources>(&json).unwrap(), sources);
    }
}
