//! From the files on disk to a new generation on every data thread, or to a refusal.
//!
//! Promises: files are read and checked off the control loop and the data threads; nothing changes
//! before everything was accepted; whoever asked gets every message; requests during a reload wait
//! for the next one, because the files may have changed after they were read.
//! Must not know: TOML, or how threads swap.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;

use super::certificates;
use super::control::{Control, Input};
use super::office;
use crate::admin::{Reload, Verdict};
use crate::config::settings::{Listener, Settings};
use crate::config::{self, Sources};
use crate::connection::blueprint::Blueprint;
use crate::handover::control::ToKeeper;
use crate::handover::snapshot;
use crate::lifecycle::{Event, Phase};
use crate::policy::Turnstile;
use crate::route::Table;
use crate::telemetry::access::AccessLog;
use crate::telemetry::{event, log};
use crate::tls::{self, Around, Directory, Kept, Tickets};
use crate::upstream::board::Lineup;

/// What came of reading the files.
pub struct Loaded {
    /// What they held, when they could be read.
    sources: Option<Sources>,
    result: Result<Draft, Refusal>,
}

/// Everything of a generation but its number.
struct Draft {
    settings: Arc<Settings>,
    routes: Arc<Table>,
    outward: Vec<Option<Arc<tls::Outward>>>,
    access: Arc<AccessLog>,
    tls: Arc<Directory>,
    warnings: Vec<String>,
}

enum Refusal {
    Errors(Vec<String>),
    /// The files hold what they held the last time, and nobody waits for a verdict.
    Unchanged,
}

/// Who waits for which reload, and how far the one under way is.
pub struct Reloads {
    /// For the verdict on the reload under way.
    now: Vec<oneshot::Sender<Verdict>>,
    /// For the verdict on the one after it.
    next: Vec<oneshot::Sender<Verdict>>,
    /// Somebody asked for the next one, by a signal or a socket, so that there must be a verdict.
    wanted: bool,
    /// What the files held the last time, accepted or not.
    seen: Option<Sources>,
    step: Step,
}

enum Step {
    None,
    Drafted(Draft),
    Refused(Vec<String>),
    Installing { blueprint: Arc<Blueprint>, warnings: Vec<String> },
}

impl Reloads {
    /// At the start the files are taken to hold what was accepted from them.
    pub fn new(sources: Sources) -> Reloads {
        Reloads { now: vec![], next: vec![], wanted: false, seen: Some(sources), step: Step::None }
    }

    pub fn asked(&mut self, waiting: Option<oneshot::Sender<Verdict>>) {
        self.next.extend(waiting);
        self.wanted = true;
    }

    /// Whoever has asked now is told that there will be none; one under way goes on.
    pub fn refuse(&mut self, verdict: &Verdict) {
        self.wanted = false;
        tell(&mut self.next, verdict);
    }

    fn abandon(&mut self, verdict: &Verdict) {
        self.step = Step::None;
        self.answer(verdict);
        self.refuse(verdict);
    }

    fn answer(&mut self, verdict: &Verdict) {
        tell(&mut self.now, verdict);
    }
}

fn tell(waiting: &mut Vec<oneshot::Sender<Verdict>>, verdict: &Verdict) {
    for waiting in waiting.drain(..) {
        // A client that left does not want to know.
        let _ = waiting.send(verdict.clone());
    }
}

/// What a draft is made from.
struct Plan {
    directory: PathBuf,
    /// What must be kept, because only a restart can change it.
    current: Arc<Settings>,
    certificates: Arc<Directory>,
    tickets: Arc<Tickets>,
    names_passed: Vec<String>,
    threads: usize,
    log: log::Handle,
    /// Refuse as unchanged when this is what the files hold.
    unless: Option<Sources>,
}

impl Control {
    pub(super) fn load(&mut self) {
        self.reloads.now = std::mem::take(&mut self.reloads.next);
        let wanted = std::mem::take(&mut self.reloads.wanted);
        let plan = Plan {
            directory: self.start.directory.clone(),
            current: Arc::clone(&self.office.blueprint.borrow().settings),
            certificates: Arc::clone(&self.office.blueprint.borrow().tls),
            tickets: Arc::clone(&self.office.tickets),
            names_passed: self.names_passed(),
            threads: self.office.running_threads(),
            log: self.office.log.clone(),
            unless: if wanted { None } else { self.reloads.seen.clone() },
        };
        self.then(async move {
            let loaded = tokio::task::spawn_blocking(move || plan.load()).await;
            Input::Loaded(Box::new(loaded.unwrap_or_else(|_| Loaded::panicked())))
        });
    }

    fn names_passed(&self) -> Vec<String> {
        use crate::handover::control::Purpose;
        let passed = self.start.sockets.iter().filter(|socket| socket.passed);
        passed
            .filter_map(|socket| match &socket.purpose {
                Purpose::Listener(name) => Some(name.clone()),
                Purpose::Admin | Purpose::AdminReadOnly => None,
            })
            .collect()
    }

    pub(super) fn loaded(&mut self, loaded: Loaded) {
        // Otherwise nobody looks at them: what was seen must not keep the next reload from happening.
        let looked_at = matches!(*self.office.phase.borrow(), Phase::Reloading { .. });
        if looked_at && loaded.sources.is_some() {
            self.reloads.seen = loaded.sources;
        }
        let (step, event) = match loaded.result {
            Ok(draft) => (Step::Drafted(draft), Event::ReloadLoaded),
            Err(Refusal::Errors(errors)) => (Step::Refused(errors), Event::ReloadRefused),
            Err(Refusal::Unchanged) => (Step::None, Event::ReloadRefused),
        };
        self.reloads.step = step;
        self.step(event);
    }

    pub(super) fn install(&mut self, number: u64) {
        let Step::Drafted(draft) = std::mem::replace(&mut self.reloads.step, Step::None) else { return };
        let Draft { settings, routes, outward, access, tls, warnings } = draft;
        let before = Arc::clone(&self.office.blueprint.borrow());
        let lineups = Lineup::all(&settings.services, &before.lineups);
        let known = Some((&*before.settings, &before.turnstiles[..]));
        let turnstiles = Turnstile::all(&settings, known, Instant::now());
        let via = before.via.clone();
        let blueprint =
            Blueprint { number, settings, routes, outward, lineups, turnstiles, access, via, tls };
        let blueprint = Arc::new(blueprint);
        let next = Arc::clone(&blueprint);
        self.reloads.step = Step::Installing { blueprint, warnings };
        let threads = Rc::clone(&self.threads);
        self.then(async move {
            threads.install(next).await;
            Input::Installed
        });
    }

    pub(super) fn announce_reloaded(&mut self, generation: u64) {
        let Step::Installing { blueprint, warnings } = std::mem::replace(&mut self.reloads.step, Step::None)
        else {
            return;
        };
        self.office.log.set_level(blueprint.settings.log.level);
        let before = self.office.blueprint.replace(Arc::clone(&blueprint));
        self.marks_touched();
        self.watch_units();
        // Whoever is held is looked at by what serves now, also when its service is gone.
        for lineup in before.lineups.iter().chain(&blueprint.lineups) {
            lineup.board().held().reroute();
        }
        let summary = self.office.summary();
        let line = summary.line(&self.start.directory);
        tracing::info!(message_id = event::RELOADED, generation, "configuration reloaded: {line}");
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        match self.reloads.seen.as_ref().map(seal) {
            Some(Ok(snapshot)) => self.outbox.send_with(ToKeeper::Reloaded(summary), vec![snapshot]),
            Some(Err(error)) => tracing::error!("cannot seal the configuration: {error}"),
            None => {}
        }
        self.watch_files();
        self.watch_certificates();
        self.tend_endpoints();
        self.verdict(Verdict { accepted: true, generation, messages: warnings, stopping: false });
    }

    pub(super) fn announce_refused(&mut self, generation: u64) {
        let Step::Refused(messages) = std::mem::replace(&mut self.reloads.step, Step::None) else {
            // Nobody asked, and nothing had changed.
            return;
        };
        tracing::error!(
            message_id = event::RELOAD_REFUSED,
            generation,
            "configuration refused, generation {generation} serves on:\n{}",
            messages.join("\n")
        );
        let reason = messages.first().cloned().unwrap_or_default();
        self.outbox.send(ToKeeper::Refused { generation, reason, messages: messages.len() });
        self.verdict(Verdict { accepted: false, generation, messages, stopping: false });
    }

    /// What this gateway does now is no time for one.
    pub(super) fn refuse_reload(&mut self, by_signal: bool) {
        let verdict = self.office.no_reload();
        self.reloads.refuse(&verdict);
        // Otherwise it stops, and nobody looks at its status any more.
        if by_signal && matches!(*self.office.phase.borrow(), Phase::HandingOver(_)) {
            let Verdict { generation, messages, .. } = verdict;
            let reason = messages.into_iter().next().unwrap_or_default();
            tracing::warn!("{reason}");
            self.outbox.send(ToKeeper::Refused { generation, reason, messages: 1 });
        }
    }

    pub(super) fn abandon_reload(&mut self) {
        let verdict = self.office.no_reload();
        self.reloads.abandon(&verdict);
        self.misses_change();
    }

    fn verdict(&mut self, verdict: Verdict) {
        self.reloads.answer(&verdict);
        self.office.last_reload.replace(Some(Reload { at: office::now(), verdict }));
    }
}

fn seal(sources: &Sources) -> std::io::Result<std::os::fd::OwnedFd> {
    snapshot::seal(&serde_json::to_vec(sources)?)
}

impl Loaded {
    fn panicked() -> Loaded {
        let errors = vec!["cannot check the configuration: the check panicked, which is a bug".into()];
        Loaded { sources: None, result: Err(Refusal::Errors(errors)) }
    }
}

impl Plan {
    fn load(&self) -> Loaded {
        let sources = match config::read(&self.directory) {
            Ok(sources) => sources,
            Err(errors) => return Loaded { sources: None, result: Err(refused(&errors)) },
        };
        let result = if self.unless.as_ref() == Some(&sources) {
            Err(Refusal::Unchanged)
        } else {
            self.draft(&sources)
        };
        Loaded { sources: Some(sources), result }
    }

    fn draft(&self, sources: &Sources) -> Result<Draft, Refusal> {
        let loaded = config::parse(sources).map_err(|errors| refused(&errors))?;
        let needs_restart =
            needs_restart(&self.current, &loaded.settings, &self.names_passed, &self.directory);
        if !needs_restart.is_empty() {
            return Err(Refusal::Errors(needs_restart));
        }
        let around = Around {
            before: Some(&self.certificates),
            kept: &Kept::default(),
            tickets: &self.tickets,
            now: SystemTime::now(),
        };
        let (directory, of_pairs) = Directory::load(&loaded.settings, &around)
            .map_err(|faults| Refusal::Errors(certificates::in_lines(&faults)))?;
        let (outward, wrong) = tls::outward(&loaded.settings);
        if !wrong.is_empty() {
            return Err(Refusal::Errors(wrong));
        }
        let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(of_pairs);
        warnings.extend(takes_effect_later(self.threads, &loaded.settings));
        Ok(Draft {
            outward,
            routes: Arc::new(Table::new(&loaded.settings)),
            access: AccessLog::new(&loaded.settings.log, &self.log),
            tls: Arc::new(directory),
            settings: loaded.settings,
            warnings,
        })
    }
}

fn refused(errors: &config::Errors) -> Refusal {
    Refusal::Errors(errors.0.iter().map(ToString::to_string).collect())
}

/// Sockets belong to the keeper and to systemd, and are opened at the start only. `passed` are the
/// names of those from systemd.
fn needs_restart(current: &Settings, next: &Settings, passed: &[String], directory: &Path) -> Vec<String> {
    let mut errors = vec![];
    let mut refuse = |key: &str, found: &str, remedy: &str| {
        errors.push(format!("{}: {key}: {found}; {remedy}", directory.display()));
    };
    let restart = "restart to apply it: systemctl restart hitless";
    for Listener { name, listen, .. } in &next.listeners {
        let key = format!("listener.{name}");
        match current.listeners.iter().find(|known| known.name == *name) {
            // A restart alone would end in a keeper that refuses to start.
            None if listen.is_empty() => refuse(
                &key,
                "systemd passed no socket of this name, and it has no 'listen'",
                &format!("set {key}.listen, or FileDescriptorName={name} in a socket unit, and then restart"),
            ),
            None => refuse(&key, "needs a new socket, which a reload cannot open", restart),
            Some(known) if known.listen != *listen && !passed.contains(name) => {
                refuse(&format!("{key}.listen"), "changes its sockets, which a reload cannot do", restart);
            }
            Some(_) => {}
        }
    }
    for Listener { name, .. } in &current.listeners {
        let key = format!("listener.{name}");
        match next.listeners.iter().any(|kept| kept.name == *name) {
            true => {}
            false if passed.contains(name) => refuse(
                &key,
                "is gone, but systemd passes a socket of this name",
                "keep it, or stop the socket unit (or change its FileDescriptorName=) and then restart",
            ),
            false => refuse(&key, "gives up a socket that is open, which a reload cannot do", restart),
        }
    }
    if current.admin != next.admin {
        refuse("admin", "changes the admin sockets, which a reload cannot do", restart);
    }
    errors
}

fn takes_effect_later(threads: usize, next: &Settings) -> Option<String> {
    (next.daemon.threads != threads).then(|| {
        format!(
            "daemon.threads: {} takes effect with the next restart, {threads} are running",
            next.daemon.threads
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn settings(text: &str) -> Arc<Settings> {
        let source = Source { name: "hitless.toml".into(), text: text.into() };
        config::parse(&Sources(vec![source])).unwrap().settings
    }

    fn refusals(current: &str, next: &str) -> Vec<String> {
        needs_restart(&settings(current), &settings(next), &["http".into()], Path::new("/etc/hitless"))
    }

    #[test]
    fn a_restart_is_only_recommended_where_it_would_help() {
        let bound = "[listener.http]\n[listener.x]\nlisten = [\"127.0.0.1:1\"]\n";
        assert_eq!(refusals("", "[listener.http]\nlisten = [\"127.0.0.1:1\"]"), Vec::<String>::new());
        for (current, next, key) in [
            ("", bound, "listener.x: needs a new socket"),
            (bound, "", "listener.x: gives up a socket"),
            (bound, &bound.replace(":1", ":2"), "listener.x.listen: changes its sockets"),
            ("", "[admin]\nsocket = \"/run/x\"", "admin: changes the admin sockets"),
        ] {
            let [refusal] = &refusals(current, next)[..] else { panic!("{next}") };
            assert!(refusal.contains(key), "{refusal}");
            assert!(refusal.ends_with("; restart to apply it: systemctl restart hitless"), "{refusal}");
        }
    }

    #[test]
    fn what_would_keep_the_keeper_from_starting_is_told_before_the_restart() {
        let [web, http] = &refusals("", "[listener.web]")[..] else { panic!() };
        assert_eq!(
            *web,
            "/etc/hitless: listener.web: systemd passed no socket of this name, and it has no 'listen'; \
             set listener.web.listen, or FileDescriptorName=web in a socket unit, and then restart"
        );
        assert!(http.starts_with("/etc/hitless: listener.http: is gone, but systemd passes"), "{http}");
    }
}
