//! `hitless attach` and `detach`: a drop-in by which systemd drains an application through hitless before it stops it.
//!
//! Promises: the unit's own stop commands stay, after ours; what attach wrote detach removes, and nothing else is touched. The
//! drop-in says who made it. A second attach writes the same again.
//! Must not know: what a drain is.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use super::client::Where;
use super::{Fatal, code, print};
use crate::systemd::order::{self, Order};
use crate::systemd::unit::{self, Stops};

const FOLDER: &str = "/etc/systemd/system";
const FILE: &str = "50-hitless.conf";
const DRAIN: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Attach {
    /// The unit, such as shop.service, or shop@.service for all its instances
    #[arg(value_name = "UNIT")]
    unit: String,
    /// The service it is of, when that does not say so by 'unit'
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// The endpoint that it is, when there are others
    #[arg(long, value_name = "ENDPOINT", requires = "service")]
    endpoint: Option<String>,
    /// How long a stop waits for what is in flight, such as 30s
    #[arg(long, value_name = "TIME", value_parser = super::gate::duration)]
    limit: Option<Duration>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
pub struct Detach {
    /// The unit
    #[arg(value_name = "UNIT")]
    unit: String,
}

pub fn attach(options: &Attach, config: Option<&Path>) -> Result<(), Fatal> {
    let unit = named(&options.unit)?;
    let stops = stops(&unit)?;
    if !stops.loaded {
        return Err(refused(&unit, "systemd does not know it; name a unit that has a file"));
    }
    if stops.kind == "oneshot" {
        return Err(refused(&unit, "it is of Type=oneshot, and serves nobody"));
    }
    let own = own_stops(&stops.files.iter().filter_map(|path| read(path)).collect::<Vec<_>>());
    let limit = options.limit.unwrap_or(match stops.timeout {
        Some(timeout) if timeout < DRAIN + Duration::from_secs(5) => timeout * 2 / 3,
        _ => DRAIN,
    });
    let program = env::current_exe().map_err(|error| Fatal::new(code::IO, error))?;
    let mut words = vec![program.display().to_string()];
    words.extend(config.map(|folder| format!("--config {}", folder.display())));
    let drains = command(&words, "drain", options, Some(limit));
    // Where systemd says by itself that it runs again, over D-Bus, nothing has to be started for that.
    let starts = options.service.is_some().then(|| command(&words, "started", options, None));
    let text = drop_in(&drains, starts.as_deref(), &own);
    let path = path_of(&unit);
    let folder = path.parent().unwrap_or(Path::new(FOLDER));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, &text));
    written.map_err(|error| unwritten("write", &path, &error))?;
    reload()?;
    let mut said =
        format!("wrote {}\n{unit} is drained before it is stopped, for {limit:?} at most", path.display());
    if !own.is_empty() {
        said.push_str(&format!(
            "\nits own ExecStop= follows, {} of them: attach again when they change",
            own.len()
        ));
    }
    if options.limit.is_some_and(|limit| stops.timeout.is_some_and(|timeout| limit >= timeout)) {
        said.push_str("\nwarning: its TimeoutStopSec= is shorter than that, and wins");
    }
    print(&said)
}

pub fn detach(options: &Detach) -> Result<(), Fatal> {
    let unit = named(&options.unit)?;
    let path = path_of(&unit);
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(&unit, &format!("it is not attached: there is no {}", path.display())));
        }
        Err(error) => return Err(unwritten("remove", &path, &error)),
    }
    // Unless somebody else has a drop-in there.
    if let Some(folder) = path.parent() {
        let _ = fs::remove_dir(folder);
    }
    reload()?;
    print(&format!("removed {}\n{unit} is stopped without being drained", path.display()))
}

fn command(program: &[String], verb: &str, options: &Attach, limit: Option<Duration>) -> String {
    let mut words = program.to_vec();
    words.push(verb.to_owned());
    match &options.service {
        Some(service) => words.push(service.clone()),
        // What systemd puts there is the whole name, of an instance too.
        None => words.push("--unit %n".to_owned()),
    }
    words.extend(
        options.endpoint.as_ref().map(|endpoint| format!("--endpoint {}", endpoint.replace('%', "%%"))),
    );
    words.extend(limit.map(|limit| format!("--limit {}ms", limit.as_millis())));
    words.extend(options.place.words().into_iter().map(|word| word.to_string_lossy().replace('%', "%%")));
    words.join(" ")
}

fn drop_in(drains: &str, starts: Option<&str>, own: &[String]) -> String {
    let mut text = String::from("# Made by 'hitless attach'; 'hitless detach' removes it.\n[Service]\n");
    if !own.is_empty() {
        text.push_str("# Ours comes first; those of the unit follow as they were.\nExecStop=\n");
    }
    text.push_str(&format!("ExecStop=-+{drains}\n"));
    for stop in own {
        text.push_str(&format!("ExecStop={stop}\n"));
    }
    if let Some(starts) = starts {
        text.push_str(&format!("ExecStartPost=-+{starts}\n"));
    }
    text
}

/// The values of `ExecStop=` that hold in the end, as they are written, of a unit's files in their order (systemd.syntax(7)).
fn own_stops(files: &[String]) -> Vec<String> {
    let mut stops = vec![];
    for file in files {
        let mut section = String::new();
        let mut lines = file.lines();
        while let Some(line) = lines.next() {
            let trimmed = line.trim();
            if trimmed.starts_with(['#', ';']) || trimmed.is_empty() {
                continue;
            }
            if trimmed.starts_with('[') {
                section = trimmed.to_owned();
                continue;
            }
            let mut whole = line.to_owned();
            while whole.ends_with('\\') {
                whole.pop();
                whole.push(' ');
                // Comments between the lines are left out.
                let next = lines.by_ref().find(|next| !next.trim_start().starts_with(['#', ';']));
                whole.push_str(next.unwrap_or_default().trim_start());
            }
            let Some((key, value)) = whole.split_once('=') else { continue };
            if section != "[Service]" || key.trim() != "ExecStop" {
                continue;
            }
            match value.trim() {
                "" => stops.clear(),
                value => stops.push(value.to_owned()),
            }
        }
    }
    stops
}

fn read(path: &Path) -> Option<String> {
    if path.file_name().is_some_and(|name| name == FILE) {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// With its suffix.
fn named(unit: &str) -> Result<String, Fatal> {
    let name = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    match name.ends_with(".service") && name.bytes().all(plain) {
        true => Ok(name),
        false => Err(Fatal::new(code::USAGE, format_args!("'{unit}' is not the name of a service unit"))),
    }
}

fn path_of(unit: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{unit}.d")).join(FILE)
}

/// A template has no state of its own: it is asked for by an instance that nobody starts.
fn stops(unit: &str) -> Result<Stops, Fatal> {
    let name = unit.replace("@.service", "@hitless.service");
    run(unit::stops(&name))?
        .map_err(|error| Fatal::new(code::UNAVAILABLE, format_args!("cannot look at {unit}: {error}")))
}

fn reload() -> Result<(), Fatal> {
    run(order::done(Order::Reload, ""))?.map_err(|error| {
        Fatal::new(
            code::UNAVAILABLE,
            format_args!("cannot have systemd read it: {error}; run: systemctl daemon-reload"),
        )
    })
}

fn run<F: Future>(work: F) -> Result<F::Output, Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Fatal::new(code::SOFTWARE, error))?.block_on(work))
}

fn refused(unit: &str, why: &str) -> Fatal {
    Fatal::new(code::REFUSED, format_args!("cannot attach or detach {unit}: {why}"))
}

fn unwritten(verb: &str, path: &Path, error: &io::Error) -> Fatal {
    let remedy = if error.kind() == io::ErrorKind::PermissionDenied { "; use sudo" } else { "" };
    Fatal::new(code::IO, format_args!("cannot {verb} '{}': {error}{remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_first_and_theirs_stays_as_it_was() {
        let files = [
            "[Unit]\nExecStop=no\n[Service]\nExecStop=/bin/a --one \\\n# between\n    --two\n; x\nExecStop=-/bin/b %i\n",
            "[Service]\nExecStop =  /bin/c $MAINPID\n",
        ]
        .map(str::to_owned);
        let own = own_stops(&files);
        assert_eq!(own, ["/bin/a --one  --two", "-/bin/b %i", "/bin/c $MAINPID"]);
        let text = drop_in("/usr/sbin/hitless drain --unit %n", None, &own);
        let stops: Vec<&str> = text.lines().filter(|line| line.starts_with("ExecStop=")).collect();
        assert_eq!(stops[..2], ["ExecStop=", "ExecStop=-+/usr/sbin/hitless drain --unit %n"]);
        assert_eq!(own_stops(&[text])[1..], own);
        let reset = ["[Service]\nExecStop=/bin/a\n", "[Service]\nExecStop=\n"].map(str::to_owned);
        assert!(own_stops(&reset).is_empty());
        assert!(!drop_in("x", None, &[]).contains("ExecStop=\n"));
    }

    #[test]
    fn a_unit_is_named_with_or_without_its_suffix() {
        assert_eq!(named("shop").unwrap(), "shop.service");
        assert_eq!(named("shop@.service").unwrap(), "shop@.service");
        for wrong in ["shop.socket", "a/b.service", "a b.service", "../x.service"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
