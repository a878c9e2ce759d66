//! What the files say about TLS: certificates, clients that prove who they are, and the way to https.
//!
//! Promises: a listener with TLS has a certificate to show; two services that share a host say the same about its
//! clients; a service that asks every client for a certificate is not reached without TLS.
//! Must not know: what is in a certificate; `crate::tls` reads it.

use std::collections::HashMap;
use std::time::Duration;

use super::build::{count, flag, limit, text, time, word};
use super::message::{Mark, Places, Report, either, quote};
use super::pages::place;
use super::routes::Marked;
use super::settings::{
    Address, Clients, EndpointTls, HostPattern, Hsts, Https, Listener, Network, Pair, Place, Protocol,
    Service, ServiceTls, Tls, TlsVersion,
};
use super::tree::{Branch, Found, Node, Section};
use super::value::Value;

const CREDENTIAL: &str = "credential:";

/// What hstspreload.org asks for.
const PRELOADED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether some certificate is written anywhere.
pub(super) fn is_configured(root: &Section<'_>) -> bool {
    let services = root.below("service", None);
    let written = |section: &Section<'_>| {
        section.own("certificates").is_some_and(|branch| branch.node != Node::List(Vec::new()))
    };
    written(&root.below("tls", None)) || services.named().any(|(_, service)| written(&service))
}

pub(super) fn tls(root: &Section<'_>, places: &Places) -> Tls {
    let section = root.below("tls", None);
    Tls {
        oldest: if word(&section, "oldest") == "1.3" { TlsVersion::Tls13 } else { TlsVersion::Tls12 },
        handshake_time: time(&section, "handshake-time"),
        handshakes: count(&section, "handshakes"),
        certificates: pairs(&section, places),
        moves: word(&root.below("handover", None), "tls") == "move",
    }
}

pub(super) fn of_service(service: &Section<'_>, places: &Places) -> ServiceTls {
    let clients = service.below("clients", None);
    ServiceTls {
        certificates: pairs(service, places),
        clients: match word(&clients, "verify") {
            "required" => Clients::Required,
            "optional" => Clients::Optional,
            _ => Clients::Off,
        },
        client_ca: file(&clients, "ca", places),
        client_field: clients.one("field", text),
    }
}

/// Half a pair is reported by [`check`].
pub(super) fn to_endpoints(service: &Section<'_>, places: &Places) -> EndpointTls {
    let section = service.below("endpoint-tls", None);
    let pair = file(&section, "certificate", places).zip(file(&section, "key", places));
    EndpointTls {
        name: section.one("name", text),
        verify: flag(&section, "verify"),
        ca: file(&section, "ca", places),
        pair: pair.map(|(chain, key)| Pair { chain, key }),
    }
}

pub(super) fn https(service: &Section<'_>) -> Https {
    let section = service.below("https", None);
    Https {
        redirect: flag(&section, "redirect"),
        hsts: limit(&section, "hsts").map(|age| Hsts {
            age,
            subdomains: flag(&section, "hsts-subdomains"),
            preload: flag(&section, "hsts-preload"),
        }),
    }
}

/// The pairs that are written in this table itself.
fn pairs(section: &Section<'_>, places: &Places) -> Vec<Pair> {
    let pair = |branch: &Branch| match &branch.node {
        Node::Leaf(Value::Pair { chain, key }) => {
            let lies = |text| lies(places.name(branch.mark), text);
            Some(Pair { chain: lies(chain), key: lies(key) })
        }
        _ => None,
    };
    section.own("certificates").map_or(&[][..], Branch::list).iter().filter_map(pair).collect()
}

/// A file that is named in this table, seen from where it is written.
fn file(section: &Section<'_>, name: &str, places: &Places) -> Option<Place> {
    let Found::Written(branch) = section.find(name)? else { return None };
    Some(lies(places.name(branch.mark), &section.one(name, text)?))
}

fn lies(source: &str, text: &str) -> Place {
    match text.strip_prefix(CREDENTIAL) {
        Some(name) => Place::Credential(name.to_owned()),
        None => Place::File(place(source, text)),
    }
}

/// What the services and listeners mean to each other. `whole` says that all listeners are known.
pub(super) fn check(
    root: &Section<'_>,
    services: &[Marked],
    listeners: &[Listener],
    whole: bool,
    report: &mut Report,
) {
    proxies(root, report);
    let sections: HashMap<&str, Section<'_>> = root.below("service", None).named().collect();
    let mut check = Check { report, listeners };
    for (service, _) in services {
        let Some(section) = sections.get(service.name.as_str()) else { continue };
        check.clients(service, section);
        check.hsts(service, section);
        check.endpoints(service, section);
        if whole {
            check.reached(service, section);
        }
    }
    check.shared_hosts(services, &sections);
    if whole {
        check.certificates(root, services, &sections);
    }
}

/// Reports sides whose PROXY header everybody could write.
fn proxies(root: &Section<'_>, report: &mut Report) {
    for (name, listener) in root.below("listener", None).named() {
        for branch in listener.own("proxy-protocol").map_or(&[][..], Branch::list) {
            if let Node::Leaf(Value::Network(network @ Network::Block { prefix: 0, .. })) = branch.node {
                report.warning(
                    branch.mark,
                    format!("listener.{name}.proxy-protocol"),
                    format!("believes everyone, because {network} is every address"),
                    "name the addresses of your own load balancers",
                );
            }
        }
    }
}

struct Check<'r> {
    report: &'r mut Report,
    listeners: &'r [Listener],
}

impl Check<'_> {
    fn clients(&mut self, service: &Service, section: &Section<'_>) {
        let clients = section.below("clients", None);
        let path = |name: &str| format!("service.{}.clients.{name}", service.name);
        if service.tls.clients == Clients::Off {
            let written = ["ca", "field"].into_iter().find_map(|name| Some((name, clients.own(name)?)));
            if let Some((name, branch)) = written.filter(|_| !broken(&clients, "verify")) {
                self.report.warning(
                    branch.mark,
                    path(name),
                    "has no effect, because no client is asked for a certificate",
                    "write verify = \"required\" or \"optional\" beside it, or remove it",
                );
            }
        } else if let (None, Some(verify)) = (clients.own("ca"), clients.own("verify")) {
            self.report.missing(
                verify.mark,
                path("ca"),
                "missing, and clients are asked for certificates",
                "allowed: a file of authorities, in PEM".into(),
                "for example ca = \"/etc/hitless/clients.pem\"".into(),
            );
        }
    }

    /// What TLS to the endpoints lacks.
    fn endpoints(&mut self, service: &Service, section: &Section<'_>) {
        const KEYS: [&str; 5] = ["name", "verify", "ca", "certificate", "key"];
        let tls = section.below("endpoint-tls", None);
        let path = |name: &str| format!("service.{}.endpoint-tls.{name}", service.name);
        let written = |name: &'static str| Some((name, tls.own(name)?));
        if service.protocol != Protocol::Https {
            if let Some((name, branch)) = KEYS.into_iter().find_map(written)
                && !broken(section, "protocol")
            {
                self.report.warning(
                    branch.mark,
                    path(name),
                    "has no effect, because the endpoints are spoken to without TLS",
                    "write protocol = \"https\" in the service, or remove it",
                );
            }
            return;
        }
        for (one, other) in [("certificate", "key"), ("key", "certificate")] {
            if let (Some(branch), None) = (tls.own(one), tls.own(other)) {
                self.report.missing(
                    branch.mark,
                    path(other),
                    format!("missing beside '{one}'"),
                    format!("allowed: the file of the {other}, in PEM"),
                    format!("write it, or remove '{one}'"),
                );
            }
        }
        if !service.endpoint_tls.verify {
            if let Some(ca) = tls.own("ca") {
                self.report.warning(
                    ca.mark,
                    path("ca"),
                    "has no effect, because no certificate is looked at",
                    "remove verify = false",
                );
            }
            return;
        }
        let nameless = service.endpoints.iter().map(|endpoint| &endpoint.address);
        let nameless = nameless.into_iter().find(|address| matches!(address, Address::Unix(_)));
        if let (Some(address), None, Some(protocol)) = (nameless, tls.own("name"), section.own("protocol")) {
            self.report.missing(
                protocol.mark,
                path("name"),
                format!(
                    "missing, and {} is no name that a certificate could have",
                    quote(&address.to_string())
                ),
                "allowed: a host name or an IP address".into(),
                "for example name = \"shop.internal.example\"".into(),
            );
        }
    }

    fn hsts(&mut self, service: &Service, section: &Section<'_>) {
        let https = section.below("https", None);
        let path = |name: &str| format!("service.{}.https.{name}", service.name);
        for name in ["hsts-subdomains", "hsts-preload"] {
            let Some(branch) = https.own(name) else { continue };
            if service.https.hsts.is_none() && !broken(&https, "hsts") {
                self.report.warning(
                    branch.mark,
                    path(name),
                    "has no effect without 'hsts'",
                    "write hsts = \"365d\" beside it, or remove it",
                );
            }
        }
        if let (Some(hsts), Some(branch)) = (service.https.hsts, https.own("hsts-preload"))
            && hsts.preload
            && (hsts.age < PRELOADED || !hsts.subdomains)
        {
            self.report.warning(
                branch.mark,
                path("hsts-preload"),
                "is not what browsers build in",
                "write hsts = \"365d\" or more, and hsts-subdomains = true",
            );
        }
    }

    /// Which of the service's promises its listeners break.
    fn reached(&mut self, service: &Service, section: &Section<'_>) {
        let https = section.below("https", None);
        let clients = section.below("clients", None);
        let path = |name: &str| format!("service.{}.{name}", service.name);
        let plain = self.listeners_of(service).find(|listener| !listener.tls).map(|l| l.name.clone());
        let secure = self.listeners_of(service).any(|listener| listener.tls);
        if !secure {
            if let (true, Some(branch)) = (service.https.redirect, https.own("redirect")) {
                self.report.error(
                    branch.mark,
                    path("https.redirect"),
                    "found true, but the service is on no listener with TLS",
                    "allowed: false, or a service that is reached by TLS",
                    "write listener.NAME.tls = true, or remove it",
                );
            }
            let idle = [
                ("https.hsts", https.own("hsts").filter(|_| service.https.hsts.is_some())),
                ("clients.verify", clients.own("verify").filter(|_| service.tls.clients != Clients::Off)),
                ("certificates", section.own("certificates").filter(|list| !list.list().is_empty())),
            ];
            for (name, branch) in idle {
                let Some(branch) = branch else { continue };
                self.report.warning(
                    branch.mark,
                    path(name),
                    "has no effect, because the service is on no listener with TLS",
                    "write listener.NAME.tls = true, or remove it",
                );
            }
        } else if let (Some(plain), Some(branch)) = (plain, clients.own("verify"))
            && service.tls.clients == Clients::Required
            && !service.https.redirect
        {
            self.report.error(
                branch.mark,
                path("clients.verify"),
                format!("found \"required\", but the service is on listener '{plain}' too, which has no TLS"),
                "allowed: listeners with TLS only, or https.redirect = true",
                "write https.redirect = true, or listeners = [\"https\"]",
            );
        }
    }

    fn listeners_of<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = &'s Listener> {
        let serves = |listener: &&Listener| {
            let on = |names: &[String]| names.is_empty() || names.contains(&listener.name);
            service.routes.iter().any(|route| on(&route.listeners))
        };
        self.listeners.iter().filter(serves)
    }

    /// A handshake knows the host, and not yet the path that decides between two services.
    fn shared_hosts(&mut self, services: &[Marked], sections: &HashMap<&str, Section<'_>>) {
        let mut first: HashMap<&HostPattern, &Service> = HashMap::new();
        for (service, _) in services {
            let mut told = false;
            for host in service.routes.iter().flat_map(|route| &route.hosts) {
                let other = *first.entry(host).or_insert(service);
                let same = (other.tls.clients, &other.tls.client_ca)
                    == (service.tls.clients, &service.tls.client_ca);
                if same || told {
                    continue;
                }
                told = true;
                let section =
                    sections.get(service.name.as_str()).map(|section| section.below("clients", None));
                let mark = section.and_then(|section| section.own("verify").or(section.own("ca")));
                let other_section = sections.get(other.name.as_str()).and_then(|section| section.table);
                let mark: Option<Mark> = mark.or(other_section).map(|branch| branch.mark);
                self.report.error(
                    mark.unwrap_or(Mark { source: 0, offset: 0 }),
                    format!("service.{}.clients", service.name),
                    format!(
                        "asks the clients of {} otherwise than service.{}",
                        quote(&host.to_string()),
                        other.name
                    ),
                    "allowed: the same 'verify' and 'ca' in all services of a host",
                    "write the same in both, or give one of them a host of its own",
                );
            }
        }
    }

    /// A certificate for each listener with TLS, and for each service on one.
    fn certificates(
        &mut self,
        root: &Section<'_>,
        services: &[Marked],
        sections: &HashMap<&str, Section<'_>>,
    ) {
        let section = root.below("tls", None);
        let common = section.own("certificates").is_some_and(|list| list.node != Node::List(Vec::new()));
        if !is_configured(root) {
            for (name, listener) in root.below("listener", None).named() {
                if let (true, Some(branch)) = (flag(&listener, "tls"), listener.own("tls")) {
                    self.report.error(
                        branch.mark,
                        format!("listener.{name}.tls"),
                        "found true, but there is no certificate",
                        "allowed: false, or some certificate to show",
                        "add certificates = [{ chain = \"…\", key = \"…\" }] to [tls] or to a service",
                    );
                }
            }
            return;
        }
        if let (Some(list), true, false) =
            (section.own("certificates"), common, self.listeners.iter().any(|listener| listener.tls))
        {
            let known: Vec<&str> = self.listeners.iter().map(|listener| listener.name.as_str()).collect();
            self.report.warning(
                list.mark,
                "tls.certificates",
                "has no effect, because no listener has TLS",
                format!("write tls = true in the table of a listener: {}", either(known)),
            );
        }
        for (service, _) in services.iter().filter(|_| !common) {
            let Some(section) = sections.get(service.name.as_str()) else { continue };
            let own = section.own("certificates").is_some_and(|list| list.node != Node::List(Vec::new()));
            let plain_only = service.https == Https::default() && service.tls.clients == Clients::Off;
            let secure = self.listeners_of(service).find(|listener| listener.tls).map(|l| l.name.clone());
            if let (false, Some(secure), Some(table)) = (own, secure, section.table) {
                let remedy = if plain_only { ", or say 'listeners' without it" } else { "" };
                self.report.warning(
                    table.mark,
                    format!("service.{}.certificates", service.name),
                    format!("missing, so that nobody reaches the service on listener '{secure}'"),
                    format!("add them here or to [tls]{remedy}"),
                );
            }
        }
    }
}

fn broken(section: &Section<'_>, name: &str) -> bool {
    section.own(name).is_some_and(Branch::is_broken)
}
