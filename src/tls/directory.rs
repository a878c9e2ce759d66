//! Which pair is shown for which name, and who is asked for a certificate: one directory for each generation.
//!
//! ```text
//!   name ─▶ door (hosts that are served alike) ─▶ config ─▶ handshake
//!                 └─ pairs: by name, then by the client's signatures
//! ```
//! Promises: a name that no service has is refused; a changed pair is shown to the next handshake, in the same directory.
//! A pair that cannot be used leaves the one before it in place.
//! Must not know: sockets, HTTP, when files change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

use super::clients::Authorities;
use super::handshake::{HTTP_1_0, Keys};
use super::material::{Fault, Kept, Slot, Sources};
use super::pair::{Pair, seconds};
use super::tickets::Tickets;
use crate::config::settings::{self, Clients, HostPattern, Place, Service, Settings, TlsVersion};

const DAY: i64 = 24 * 60 * 60;

/// What is the same for every handshake of a process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[derive(Default)]
pub struct Directory {
    doors: Vec<Door>,
    exact: HashMap<String, usize>,
    /// By what follows the `*.`.
    suffixes: HashMap<String, usize>,
    any: Option<usize>,
    /// For those who ask for no name, and for names that only a common pair has.
    common: Option<usize>,
    pairs: Vec<Arc<Slot<Pair>>>,
    authorities: Vec<Arc<Slot<Authorities>>>,
}

/// Hosts that are served alike: with the same pairs, and the same question to clients.
struct Door {
    alike: Alike,
    pairs: Vec<Arc<Slot<Pair>>>,
    authorities: Option<Arc<Slot<Authorities>>>,
    makings: Makings,
    config: RwLock<Arc<ServerConfig>>,
}

/// What the configurations of one generation have in common.
#[derive(Clone)]
struct Makings {
    oldest: TlsVersion,
    tickets: Arc<Tickets>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    pairs: Vec<settings::Pair>,
    clients: Clients,
    ca: Option<Place>,
}

/// What a directory is made from besides the settings.
pub struct Around<'a> {
    /// The one that serves.
    pub before: Option<&'a Directory>,
    /// What served in another process.
    pub kept: &'a Kept,
    pub tickets: &'a Arc<Tickets>,
    pub now: SystemTime,
}

/// What became of files that have changed.
#[derive(Debug)]
pub enum Change {
    /// For people.
    Taken(String),
    Refused(Fault),
}

/// A pair, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub chain: String,
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_after: i64,
    pub days_left: i64,
    /// Why the files are not what is shown.
    pub fault: Option<String>,
}

impl Directory {
    /// With what there is to say about it, or every fault.
    pub fn load(settings: &Settings, around: &Around<'_>) -> Result<(Directory, Vec<String>), Vec<Fault>> {
        Load { settings, around, directory: Directory::default(), warnings: vec![], errors: vec![] }.load()
    }

    /// What a client is answered with that asks for this name, in lower case; `None` when nobody here has it.
    pub fn config(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        let door = &self.doors[self.door(name)?];
        Some(Arc::clone(&door.config.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Whether a client that has asked for `name` may be answered for `host`: whether it would have been shown the same pairs, and asked for the same certificate (RFC 9110, section 15.5.20).
    pub fn agrees(&self, name: Option<&str>, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        // An address is no name that a client could have asked for (RFC 6066, section 3).
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let host = if address && !self.exact.contains_key(&host) { None } else { Some(&host[..]) };
        self.door(name).is_some_and(|door| self.door(host) == Some(door))
    }

    fn door(&self, name: Option<&str>) -> Option<usize> {
        let Some(name) = name else { return self.common };
        let suffixes = || {
            let mut below = name;
            std::iter::from_fn(move || {
                below = below.split_once('.')?.1;
                Some(below)
            })
        };
        let own = self.exact.get(name).or_else(|| suffixes().find_map(|suffix| self.suffixes.get(suffix)));
        own.copied().or(self.any).or_else(|| {
            let covers = |pair: &Arc<Slot<Pair>>| pair.current().covers(name);
            self.common.filter(|common| self.doors[*common].pairs.iter().any(covers))
        })
    }

    /// Looks at the files again.
    pub fn refresh(&self, now: SystemTime) -> Vec<Change> {
        let mut changes = Vec::new();
        for slot in &self.pairs {
            changes.extend(slot.refresh(now).map(|result| match result {
                Ok(pair) => Change::Taken(taken(slot, &pair)),
                Err(fault) => Change::Refused(fault),
            }));
        }
        for slot in &self.authorities {
            let Some(result) = slot.refresh(now) else { continue };
            changes.push(match result.and_then(|_| self.verify_by(slot)) {
                Ok(()) => Change::Taken(format!("clients are verified by the new {}", slot.places()[0])),
                Err(fault) => Change::Refused(fault),
            });
        }
        changes
    }

    /// New authorities are another configuration, with the same pairs.
    fn verify_by(&self, slot: &Arc<Slot<Authorities>>) -> Result<(), Fault> {
        let asks = |door: &&Door| door.authorities.as_ref().is_some_and(|own| Arc::ptr_eq(own, slot));
        for door in self.doors.iter().filter(asks) {
            let config = door.makings.config(door.alike.clients, &door.pairs, Some(slot))?;
            *door.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        }
        Ok(())
    }

    /// Every file that it depends on.
    pub fn places(&self) -> Vec<Place> {
        let pairs = self.pairs.iter().flat_map(|slot| slot.places());
        pairs.chain(self.authorities.iter().flat_map(|slot| slot.places())).cloned().collect()
    }

    /// What it was made from, for another process.
    pub fn keep(&self) -> Kept {
        let mut kept = Kept::default();
        self.pairs.iter().for_each(|slot| slot.keep(&mut kept));
        self.authorities.iter().for_each(|slot| slot.keep(&mut kept));
        kept
    }

    /// The pairs, for people.
    pub fn shown(&self, now: SystemTime) -> Vec<Shown> {
        let shown = |slot: &Arc<Slot<Pair>>| {
            let pair = slot.current();
            Shown {
                chain: slot.places()[0].to_string(),
                names: pair.names(),
                not_after: pair.not_after(),
                days_left: (pair.not_after() - seconds(now)).div_euclid(DAY),
                fault: slot.fault().map(|fault| fault.to_string()),
            }
        };
        self.pairs.iter().map(shown).collect()
    }
}

fn taken(slot: &Slot<Pair>, pair: &Pair) -> String {
    let until =
        jiff::Timestamp::from_second(pair.not_after()).map_or_else(|_| "?".into(), |at| at.to_string());
    format!("shows the new certificate of {}, which expires {until}", slot.places()[0])
}

impl Makings {
    fn config(
        &self,
        clients: Clients,
        pairs: &[Arc<Slot<Pair>>],
        authorities: Option<&Arc<Slot<Authorities>>>,
    ) -> Result<Arc<ServerConfig>, Fault> {
        let versions: &[_] = match self.oldest {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            // INVARIANT: the provider has suites of both versions.
            .map_err(|error| Fault::new(&Place::File("TLS".into()), error.to_string(), "this is a bug"))?;
        let mut bound = vec![clients as u8];
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(slot) => {
                let authorities = slot.current();
                bound.extend_from_slice(authorities.print());
                let verifier = authorities.verifier(clients);
                builder.with_client_cert_verifier(verifier.map_err(|error| {
                    Fault::new(&slot.places()[0], error, "put certificates of authorities there")
                })?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Showcase(pairs.to_vec())));
        config.alpn_protocols = [b"h2", &b"http/1.1"[..], HTTP_1_0].map(<[u8]>::to_vec).to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.tickets.bound(bound);
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Keys);
        Ok(Arc::new(config))
    }
}

/// The pairs of a door: the faster signatures first.
struct Showcase(Vec<Arc<Slot<Pair>>>);

impl std::fmt::Debug for Showcase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pairs", self.0.len())
    }
}

impl ResolvesServerCert for Showcase {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs: Vec<Arc<Pair>> = self.0.iter().map(|slot| slot.current()).collect();
        let suitable = || pairs.iter().filter(|pair| pair.suits(hello.signature_schemes()));
        let named = hello
            .server_name()
            .and_then(|name| suitable().filter(|pair| pair.covers(name)).min_by_key(|pair| pair.is_slow()));
        // Whoever wants another name is told so by its own client.
        let chosen = named.or_else(|| suitable().next())?;
        Some(Arc::clone(chosen.certified()))
    }
}

struct Load<'a> {
    settings: &'a Settings,
    around: &'a Around<'a>,
    directory: Directory,
    warnings: Vec<String>,
    errors: Vec<Fault>,
}

impl Load<'_> {
    fn load(mut self) -> Result<(Directory, Vec<String>), Vec<Fault>> {
        if self.settings.listeners.iter().any(|listener| listener.tls) {
            self.doors();
        }
        if self.errors.is_empty() { Ok((self.directory, self.warnings)) } else { Err(self.errors) }
    }

    fn doors(&mut self) {
        let common = Alike { pairs: self.settings.tls.certificates.clone(), clients: Clients::Off, ca: None };
        let mut hosts: BTreeMap<&HostPattern, Alike> = BTreeMap::new();
        let mut named: BTreeMap<&HostPattern, &str> = BTreeMap::new();
        for service in &self.settings.services {
            let tls = &service.tls;
            let pairs = if tls.certificates.is_empty() { &common.pairs } else { &tls.certificates };
            for host in secure_hosts(self.settings, service) {
                named.entry(host).or_insert(&service.name);
                // Services that share a host ask the same of clients, or the configuration is refused.
                let alike = hosts.entry(host).or_insert_with(|| Alike {
                    pairs: vec![],
                    clients: tls.clients,
                    ca: tls.client_ca.clone().filter(|_| tls.clients != Clients::Off),
                });
                for pair in pairs {
                    if !alike.pairs.contains(pair) {
                        alike.pairs.push(pair.clone());
                    }
                }
            }
        }
        let mut doors: BTreeMap<Alike, Option<usize>> = BTreeMap::new();
        if !common.pairs.is_empty() {
            let index = self.door(&common);
            self.directory.common = index;
            doors.insert(common, index);
        }
        for (host, alike) in hosts.into_iter().filter(|(_, alike)| !alike.pairs.is_empty()) {
            let index = match doors.get(&alike) {
                Some(index) => *index,
                None => {
                    let index = self.door(&alike);
                    doors.insert(alike, index);
                    index
                }
            };
            let Some(index) = index else { continue };
            self.covered(host, named.get(host).copied().unwrap_or_default(), index);
            match host {
                HostPattern::Exact(name) => _ = self.directory.exact.insert(name.clone(), index),
                HostPattern::Suffix(name) => _ = self.directory.suffixes.insert(name.clone(), index),
                HostPattern::Any => self.directory.any = Some(index),
            }
        }
        self.warnings.sort();
        self.warnings.dedup();
        let mut told = BTreeSet::new();
        self.errors.retain(|fault| told.insert(fault.to_string()));
    }

    fn door(&mut self, alike: &Alike) -> Option<usize> {
        let pairs: Vec<_> = alike.pairs.iter().map(|pair| self.pair(pair)).collect();
        let authorities = alike.ca.as_ref().map(|place| self.authorities(place));
        let pairs = pairs.into_iter().collect::<Option<Vec<_>>>()?;
        let authorities = match authorities {
            None => None,
            Some(loaded) => Some(loaded?),
        };
        let makings = Makings { oldest: self.settings.tls.oldest, tickets: Arc::clone(self.around.tickets) };
        match makings.config(alike.clients, &pairs, authorities.as_ref()) {
            Ok(config) => {
                let config = RwLock::new(config);
                let alike = alike.clone();
                self.directory.doors.push(Door { alike, pairs, authorities, makings, config });
                Some(self.directory.doors.len() - 1)
            }
            Err(fault) => {
                self.errors.push(fault);
                None
            }
        }
    }

    fn pair(&mut self, pair: &settings::Pair) -> Option<Arc<Slot<Pair>>> {
        let places = vec![pair.chain.clone(), pair.key.clone()];
        let before = self.around.before.map_or(&[][..], |before| &before.pairs);
        let slot = open(places, &mut self.directory.pairs, before, self.around, &mut self.warnings);
        slot.map_err(|fault| self.errors.push(fault)).ok()
    }

    fn authorities(&mut self, place: &Place) -> Option<Arc<Slot<Authorities>>> {
        let before = self.around.before.map_or(&[][..], |before| &before.authorities);
        let places = vec![place.clone()];
        let slot = open(places, &mut self.directory.authorities, before, self.around, &mut self.warnings);
        slot.map_err(|fault| self.errors.push(fault)).ok()
    }

    /// Warns of a host whose clients will find that no certificate is for it.
    fn covered(&mut self, host: &HostPattern, service: &str, door: usize) {
        let name = match host {
            HostPattern::Exact(name) => name.clone(),
            // A wildcard is for one label (RFC 9525, section 6.3), and any will do.
            HostPattern::Suffix(name) => format!("any.{name}"),
            HostPattern::Any => return,
        };
        let pairs = &self.directory.doors[door].pairs;
        if !pairs.iter().any(|pair| pair.current().covers(&name)) {
            let shown: Vec<String> = pairs.iter().map(|pair| pair.places()[0].to_string()).collect();
            self.warnings.push(format!(
                "service.{service}: no certificate is for '{host}', so its clients refuse what they are shown ({}); \
                 add one for it",
                shown.join(", ")
            ));
        }
    }
}

/// The hosts of a service that are reached by TLS.
fn secure_hosts<'s>(settings: &'s Settings, service: &'s Service) -> impl Iterator<Item = &'s HostPattern> {
    let secure = |names: &[String]| {
        let mut listeners = settings.listeners.iter().filter(|listener| listener.tls);
        listeners.any(|listener| names.is_empty() || names.contains(&listener.name))
    };
    service.routes.iter().filter(move |route| secure(&route.listeners)).flat_map(|route| &route.hosts)
}

/// The slot of these places, which may be open already.
fn open<M: super::material::Material>(
    places: Vec<Place>,
    open: &mut Vec<Arc<Slot<M>>>,
    before: &[Arc<Slot<M>>],
    around: &Around<'_>,
    warnings: &mut Vec<String>,
) -> Result<Arc<Slot<M>>, Fault> {
    if let Some(slot) = open.iter().find(|slot| slot.places() == places) {
        return Ok(Arc::clone(slot));
    }
    let sources = Sources {
        before: before.iter().find(|slot| slot.places() == places).map(|slot| &**slot),
        kept: around.kept,
        now: around.now,
        at_start: around.before.is_none(),
    };
    let sources_have_one = sources.before.is_some() || around.kept.find(&places).is_some();
    let slot = Arc::new(Slot::open(places, &sources)?);
    let stays = if sources_have_one { "the one before it stays" } else { "it is shown all the same" };
    warnings.extend(slot.fault().map(|fault| format!("{fault}; until then {stays}")));
    open.push(Arc::clone(&slot));
    Ok(slot)
}
