//! The table of keys: the only place that says which keys there are, what they take, what they
//! mean, and what holds when they are not written.
//!
//! Promises: the checks, `hitless check --show` and `--explain`, the JSON schema, the annotated
//! example and hitless.toml(5) are all derived from here; every default and every example is a value
//! that its own key accepts.
//! Must not know: how any of those is made.

use super::kind::Kind;

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Where it may be written, the most general place first; each place inherits from the one before
    /// it. `NAME` stands for a name that the operator chooses, `[]` for one table of several.
    pub at: &'static [&'static str],
    pub kind: Kind,
    pub unset: Unset,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// More, in whole sentences; may be empty.
    pub detail: &'static str,
    /// A value, as TOML.
    pub example: &'static str,
    /// What the same thing is called elsewhere.
    pub elsewhere: &'static [&'static str],
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unset {
    /// This value, as TOML.
    Default(&'static str),
    /// It has to be written.
    Required,
    /// Nothing; in words, what that means.
    Means(&'static str),
}

/// `service.NAME.hosts` → `hosts`.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// `service.NAME.hosts` → `service.NAME`.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(table, _)| table)
}

/// The key as it is written below the header of its table: `hosts`, `redirect.to`.
pub(super) fn written(key: &Key) -> String {
    let path = key.at[0];
    let inline = KEYS.iter().any(|other| other.at[0] == parent(path) && !other.example.is_empty());
    if inline { format!("{}.{}", last(parent(path)), last(path)) } else { last(path).into() }
}

/// `service.NAME.route[].rate[]` → `[[service.NAME.route.rate]]`, `service.NAME.route[].timeout` → `[service.NAME.route.timeout]`.
pub(super) fn header(table: &str) -> String {
    match table.strip_suffix("[]") {
        Some(list) => format!("[[{}]]", list.replace("[]", "")),
        None => format!("[{}]", table.replace("[]", "")),
    }
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The bounds of a deadline that may also be switched off.
const DEADLINE: Kind = Kind::Duration { least: 1, most: 7 * DAY, word: "off" };
const TABLE: Kind = Kind::Table { short: "" };
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The bounds of a number of things that may also be without a limit.
const THINGS: Kind = Kind::Count { least: 1, most: 10_000_000, word: "off" };

const fn table(at: &'static [&'static str], summary: &'static str, detail: &'static str) -> Key {
    Key { at, kind: TABLE, unset: Unset::Means(""), summary, detail, example: "", elsewhere: &[] }
}

/// Every table and key, in the order in which they are explained.
pub const KEYS: &[Key] = &[
    table(&["daemon"], "the processes", ""),
    Key {
        at: &["daemon.threads"],
        kind: Kind::Count { least: 1, most: 1024, word: "auto" },
        unset: Unset::Default("\"auto\""),
        summary: "how many data threads serve requests",
        detail: "\"auto\" is one per processor that the daemon may use. Changing it takes a restart.",
        example: "4",
        elsewhere: &["workers", "worker_processes", "nbthread"],
    },
    Key {
        at: &["daemon.reload"],
        kind: Kind::Word(&["on-signal", "on-change"]),
        unset: Unset::Default("\"on-signal\""),
        summary: "when the configuration is read again",
        detail: "\"on-signal\" reloads when asked by 'systemctl reload hitless', 'hitless reload' or SIGHUP. \
                 \"on-change\" also reloads by itself when a file changes. Either way a configuration with \
                 an error changes nothing.",
        example: "\"on-change\"",
        elsewhere: &["watch"],
    },
    table(
        &["listener.NAME"],
        "a door, by the name of its sockets",
        "The name is that of FileDescriptorName= in the socket unit; several sockets may share it. Without \
         any listener table there is one listener, 'http', as hitless.socket passes it. A socket that systemd \
         passes and no listener names is an error, and so is a listener without a socket and without 'listen'.",
    ),
    Key {
        at: &["listener.NAME.listen"],
        kind: Kind::List(&Kind::Socket),
        unset: Unset::Default("[]"),
        summary: "where to bind when systemd passes no socket of this name",
        detail: "Adding, removing or moving a listener takes a restart: sockets are made when the daemon starts.",
        example: "[\"0.0.0.0:8080\", \"[::]:8080\"]",
        elsewhere: &["bind", "address", "addresses", "port"],
    },
    Key {
        at: &["listener.NAME.backlog"],
        kind: Kind::Count { least: 1, most: 65_535, word: "" },
        unset: Unset::Default("4096"),
        summary: "how many connections may wait in the kernel",
        detail: "For sockets that hitless binds; others have Backlog= in their socket unit. The kernel caps it \
                 at net.core.somaxconn.",
        example: "1024",
        elsewhere: &[],
    },
    Key {
        at: &["listener.NAME.tls"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether its connections are TLS",
        detail: "HTTP/2 or HTTP/1.1, as the client prefers. With a certificate anywhere, and no listener that has 'tls' or \
                 'listen', there is one more listener, 'https', with TLS, for a socket that systemd passes.",
        example: "true",
        elsewhere: &["ssl", "https"],
    },
    Key {
        at: &["listener.NAME.proxy-protocol"],
        kind: Kind::List(&Kind::Network),
        unset: Unset::Default("[]"),
        summary: "load balancers that begin each connection with a PROXY header",
        detail: "Version 1 or 2, in front of TLS and of HTTP; \"unix\" is every peer of a Unix socket. Whom it names is the client for logs, \
                 Forwarded, 'forwarded.trusted' and limits. From them a connection without a header, or with a wrong one, is \
                 closed; from elsewhere a header is answered 400.",
        example: "[\"10.0.0.0/8\"]",
        elsewhere: &["proxy_protocol", "accept-proxy", "proxyprotocol", "send-proxy"],
    },
    table(
        &["tls"],
        "handshakes and certificates",
        "Cipher suites and curves are not configured: TLS 1.3, and of TLS 1.2 only what is as safe. A changed certificate is taken \
         up by itself, whatever 'daemon.reload' says, and without an effect on open connections; one that cannot be used changes \
         nothing.",
    ),
    Key {
        at: &["tls.certificates", "service.NAME.certificates"],
        kind: Kind::List(&Kind::Pair),
        unset: Unset::Default("[]"),
        summary: "certificates and their keys",
        detail: "Each is a file with the certificate, followed by those that it needs up to a root, and one with its key, in PEM; no \
                 other user may be able to read the key. \"credential:NAME\" is what LoadCredential= of the unit passes. Which one \
                 a client gets is decided by the name that it asks for and the signatures that it knows; there may be an RSA and an \
                 ECDSA one for the same names. Those of a service are for its hosts, those of [tls] for the hosts of all services \
                 without their own; the first of [tls] is for clients that ask for no name.",
        example: "[{ chain = \"/etc/ssl/shop/fullchain.pem\", key = \"/etc/ssl/shop/privkey.pem\" }]",
        elsewhere: &["certificate", "cert", "certs", "crt", "ssl_certificate", "key", "tls-certificates"],
    },
    Key {
        at: &["tls.oldest"],
        kind: Kind::Word(&["1.2", "1.3"]),
        unset: Unset::Default("\"1.2\""),
        summary: "the oldest version of TLS that is spoken",
        detail: "",
        example: "\"1.3\"",
        elsewhere: &["min-version", "minimum", "ssl_protocols", "ssl-min-ver", "protocols"],
    },
    Key {
        at: &["tls.handshake-time"],
        kind: Kind::Duration { least: 100, most: HOUR, word: "" },
        unset: Unset::Default("\"10s\""),
        summary: "how long a handshake may take",
        detail: "From accept. A connection that takes longer is closed.",
        example: "\"5s\"",
        elsewhere: &["handshake-timeout", "ssl_handshake_timeout", "timeout"],
    },
    Key {
        at: &["tls.handshakes"],
        kind: THINGS,
        unset: Unset::Default("1000"),
        summary: "how many handshakes there may be at a time",
        detail: "Each data thread has its share. Newcomers wait in the kernel's queue meanwhile.",
        example: "200",
        elsewhere: &["max-handshakes", "maxsslconn", "maxsslrate"],
    },
    table(&["handover"], "what becomes of connections in an upgrade and a restart", ""),
    Key {
        at: &["handover.tls"],
        kind: Kind::Word(&["move", "drain"]),
        unset: Unset::Default("\"move\""),
        summary: "whether TLS connections move",
        detail: "\"move\" passes the keys of a connection on to the process that goes on with it, in memory only. \"drain\" keeps \
                 them where they are: TLS connections end in order, and their clients open new ones.",
        example: "\"drain\"",
        elsewhere: &["move-tls"],
    },
    table(&["admin"], "the operator's door, never the public one", ""),
    Key {
        at: &["admin.socket"],
        kind: Kind::SocketFile,
        unset: Unset::Default("\"/run/hitless/admin.sock\""),
        summary: "the Unix socket of 'hitless status' and 'hitless reload'",
        detail: "",
        example: "\"/run/hitless/admin.sock\"",
        elsewhere: &[],
    },
    Key {
        at: &["admin.listen"],
        kind: Kind::List(&Kind::Socket),
        unset: Unset::Default("[]"),
        summary: "more addresses that answer /healthz, /readyz and /status",
        detail: "Read-only: a reload is only taken from the Unix socket.",
        example: "[\"127.0.0.1:9080\"]",
        elsewhere: &["bind", "address"],
    },
    Key {
        at: &["admin.faults"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether 'hitless fault' may delay and fail requests on purpose",
        detail: "For drills. A fault ends by itself, at the latest after a day, and with the gateway; it is logged and shown by 'hitless status'. \
                 A reload that takes this back ends it.",
        example: "true",
        elsewhere: &["fault", "fault-injection", "chaos", "drills"],
    },
    table(
        &["drain"],
        "how the daemon stops",
        "On SIGTERM it stops accepting, finishes what is in flight and ends when nothing is left, at the latest \
         at the deadline. A second signal ends it at once.",
    ),
    Key {
        at: &["drain.deadline"],
        kind: Kind::Duration { least: 0, most: DAY, word: "adaptive" },
        unset: Unset::Default("\"75s\""),
        summary: "the longest that requests in flight are waited for",
        detail: "It is kept below TimeoutStopSec= of the unit, whatever it says here. \"adaptive\" follows the \
                 durations and ages of the requests seen, between 'deadline-least' and 'deadline-most'. What is \
                 cut then gets a 503 when nothing of its answer was sent, and is logged with its age.",
        example: "\"30s\"",
        elsewhere: &["timeout", "grace", "shutdown-timeout"],
    },
    Key {
        at: &["drain.deadline-least"],
        kind: Kind::Duration { least: 0, most: DAY, word: "" },
        unset: Unset::Default("\"5s\""),
        summary: "the least that an adaptive deadline can be",
        detail: "",
        example: "\"10s\"",
        elsewhere: &["deadline-min", "min-deadline"],
    },
    Key {
        at: &["drain.deadline-most"],
        kind: Kind::Duration { least: 0, most: DAY, word: "" },
        unset: Unset::Default("\"75s\""),
        summary: "the most that an adaptive deadline can be",
        detail: "",
        example: "\"60s\"",
        elsewhere: &["deadline-max", "max-deadline"],
    },
    Key {
        at: &["drain.idle-grace"],
        kind: Kind::Duration { least: 0, most: HOUR, word: "" },
        unset: Unset::Default("\"1s\""),
        summary: "how long an idle or just accepted connection is still served",
        detail: "Its next request is answered with 'Connection: close', so that a request on its way meets no \
                 closed connection.",
        example: "\"2s\"",
        elsewhere: &[],
    },
    Key {
        at: &["drain.lame-duck"],
        kind: Kind::Duration { least: 0, most: HOUR, word: "" },
        unset: Unset::Default("\"0s\""),
        summary: "how long /readyz fails, with everything still served, before the drain begins",
        detail: "For a load balancer in front that looks at /readyz. It counts toward TimeoutStopSec= of the unit.",
        example: "\"10s\"",
        elsewhere: &[],
    },
    Key {
        at: &["drain.extend"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether systemd is asked for more time while requests make progress",
        detail: "With EXTEND_TIMEOUT_USEC=, see sd_notify(3).",
        example: "true",
        elsewhere: &[],
    },
    Key {
        at: &["drain.tunnel-jitter"],
        kind: Kind::Duration { least: 0, most: HOUR, word: "" },
        unset: Unset::Default("\"1s\""),
        summary: "the time over which the closing of WebSockets is spread",
        detail: "So that their clients do not all come back in the same moment.",
        example: "\"10s\"",
        elsewhere: &[],
    },
    table(
        &["upgrade"],
        "how another version takes over",
        "On 'hitless upgrade', and on 'hitless reload' when the program on disk is another one, a gateway of that program \
         gets the sockets and every connection that can move; the outgoing one finishes the rest.",
    ),
    Key {
        at: &["upgrade.probation"],
        kind: Kind::Duration { least: 0, most: HOUR, word: "" },
        unset: Unset::Default("\"10s\""),
        summary: "how long the new gateway is watched before the old program is given up",
        detail: "When it dies within this time the old program takes its place, and the upgrade is rolled back.",
        example: "\"1m\"",
        elsewhere: &["watch", "trial"],
    },
    Key {
        at: &["upgrade.outgoing"],
        kind: Kind::Count { least: 1, most: 16, word: "" },
        unset: Unset::Default("2"),
        summary: "how many outgoing gateways may still finish what they have",
        detail: "An upgrade that would make one more is refused.",
        example: "4",
        elsewhere: &["generations", "old-generations"],
    },
    Key {
        at: &["upgrade.deadline"],
        kind: Kind::Duration { least: 0, most: DAY, word: "" },
        unset: Unset::Default("\"10m\""),
        summary: "the longest that an outgoing gateway waits for what cannot move",
        detail: "Requests in flight, and WebSockets over HTTP/2. What is left then is ended as 'drain' says.",
        example: "\"1h\"",
        elsewhere: &["timeout", "grace"],
    },
    table(&["log"], "the journal and the access log", ""),
    Key {
        at: &["log.level"],
        kind: Kind::Word(&["error", "warning", "notice", "info", "debug"]),
        unset: Unset::Default("\"info\""),
        summary: "the least important message that is written",
        detail: "error: a human must act. warning: degraded, going on. notice: starting, reloading, stopping. \
                 info: facts of the configuration. debug: each connection.",
        example: "\"debug\"",
        elsewhere: &["log-level", "loglevel"],
    },
    Key {
        at: &["log.access"],
        kind: Kind::Word(&["off", "sampled", "all"]),
        unset: Unset::Default("\"off\""),
        summary: "which requests are written to the access log",
        detail: "Requests that failed by the fault of an application or of hitless are always written.",
        example: "\"sampled\"",
        elsewhere: &["access-log", "access_log"],
    },
    Key {
        at: &["log.access-sample"],
        kind: Kind::Share,
        unset: Unset::Default("0.01"),
        summary: "the share of requests written when access = \"sampled\"",
        detail: "",
        example: "0.1",
        elsewhere: &["sample-rate"],
    },
    Key {
        at: &["log.access-to"],
        kind: Kind::Sink,
        unset: Unset::Default("\"journal\""),
        summary: "where the access log goes",
        detail: "\"journal:NAMESPACE\" is a journal namespace with limits of its own, see journald.conf(5). A file \
                 is opened anew after logrotate(8) moved it.",
        example: "\"file:/var/log/hitless/access.log\"",
        elsewhere: &["access-file"],
    },
    table(&["forwarded"], "what is believed of the side that connects", ""),
    Key {
        at: &["forwarded.trusted"],
        kind: Kind::List(&Kind::Network),
        unset: Unset::Default("[]"),
        summary: "proxies whose Forwarded and X-Forwarded-* are believed",
        detail: "From any other side these fields are replaced. \"unix\" is every peer of a Unix socket. \
                 X-Request-Id and traceparent are continued, whoever sends them.",
        example: "[\"10.0.0.0/8\", \"unix\"]",
        elsewhere: &["trusted-proxies", "trust", "set_real_ip_from"],
    },
    table(
        &["service.NAME"],
        "an application",
        "One application is described in one file: services.d/NAME.toml, or hitless.toml itself.",
    ),
    Key {
        at: &["service.NAME.hosts", "service.NAME.route[].hosts"],
        kind: Kind::Some(&Kind::Host),
        unset: Unset::Means("has to be written unless every route has its own"),
        summary: "the hosts it is reached by",
        detail: "An exact host goes before the longest '*.suffix', and that before '*'. A suffix stands for the \
                 names below it at any depth, not for itself.",
        example: "[\"shop.example.com\"]",
        elsewhere: &["host", "domain", "domains", "server_name", "hostname", "hostnames", "name", "vhost"],
    },
    Key {
        at: &["service.NAME.endpoints"],
        kind: Kind::Some(&Kind::Endpoint),
        unset: Unset::Means("has to be written unless every route answers by itself"),
        summary: "where the application listens",
        detail: "A name is looked up as often as 'resolve' says, and each address of it is an endpoint of its own; when that \
                 fails the addresses from before stay. 'weight=3' behind an address is three times the share of one without; \
                 'weight=0' gets no requests.",
        example: "[\"127.0.0.1:3000\", \"127.0.0.1:3001 weight=3\"]",
        elsewhere: &[
            "endpoint",
            "upstream",
            "upstreams",
            "backend",
            "backends",
            "server",
            "servers",
            "target",
            "targets",
            "nodes",
            "address",
            "addresses",
            "port",
            "url",
            "urls",
            "proxy_pass",
        ],
    },
    Key {
        at: &["service.NAME.protocol"],
        kind: Kind::Word(&["http1", "h2c", "https"]),
        unset: Unset::Default("\"http1\""),
        summary: "the protocol that the application speaks",
        detail: "\"h2c\" is HTTP/2 with prior knowledge over cleartext. Upgrades, such as to WebSocket, take \"http1\" or \"https\": \
                 for them an application can have a service of its own. \"https\" is TLS with HTTP/2 or HTTP/1.1 inside, as the \
                 application says in the handshake (ALPN).",
        example: "\"h2c\"",
        elsewhere: &[],
    },
    table(
        &["service.NAME.endpoint-tls"],
        "TLS to the application, with protocol = \"https\"",
        "The application is asked for a certificate that proves it to be the one. A request whose application does not is answered \
         502, and goes to another endpoint before that. All files are read again on a reload.",
    ),
    Key {
        at: &["service.NAME.endpoint-tls.name"],
        kind: Kind::Certified,
        unset: Unset::Means("the host of the endpoint; for a Unix socket it has to be written"),
        summary: "the name or address that the application's certificate must have",
        detail: "A name is also what the application is asked for (SNI); an address is looked for among the addresses of the \
                 certificate. It holds for every endpoint of the service.",
        example: "\"shop.internal.example\"",
        elsewhere: &["sni", "server-name", "servername", "verifyhost", "proxy_ssl_name", "host"],
    },
    Key {
        at: &["service.NAME.endpoint-tls.verify"],
        kind: Kind::Flag,
        unset: Unset::Default("true"),
        summary: "whether the application's certificate is looked at",
        detail: "Without that, whoever is between hitless and the application can read and change everything. It is the 'ca' that makes \
                 a certificate of one's own trusted.",
        example: "false",
        elsewhere: &["proxy_ssl_verify", "insecure", "skip-verify", "insecureSkipVerify"],
    },
    Key {
        at: &["service.NAME.endpoint-tls.ca"],
        kind: Kind::Place,
        unset: Unset::Means("the authorities of the system, in /etc/ssl/certs/ca-certificates.crt"),
        summary: "the file of the authorities that the application's certificate may be from",
        detail: "PEM, one or more, in place of those of the system. A certificate that signs itself can be in here too.",
        example: "\"/etc/hitless/internal.pem\"",
        elsewhere: &["ca-file", "cafile", "bundle", "authorities", "proxy_ssl_trusted_certificate"],
    },
    Key {
        at: &["service.NAME.endpoint-tls.certificate"],
        kind: Kind::Place,
        unset: Unset::Means("none is shown"),
        summary: "the file of the certificate that hitless shows to the application, and its chain",
        detail: "PEM, the certificate itself first.",
        example: "\"/etc/hitless/gateway.pem\"",
        elsewhere: &["cert", "crt", "chain", "client-certificate", "proxy_ssl_certificate"],
    },
    Key {
        at: &["service.NAME.endpoint-tls.key"],
        kind: Kind::Place,
        unset: Unset::Means("has to be written beside 'certificate'"),
        summary: "the file of its key",
        detail: "PEM, readable for the daemon and nobody else.",
        example: "\"credential:gateway.key\"",
        elsewhere: &["client-key", "proxy_ssl_certificate_key"],
    },
    Key {
        at: &["service.NAME.listeners", "service.NAME.route[].listeners"],
        kind: Kind::Some(&Kind::ListenerName),
        unset: Unset::Means("all listeners"),
        summary: "the listeners it is reached on",
        detail: "",
        example: "[\"http\"]",
        elsewhere: &["listener", "entrypoints"],
    },
    Key {
        at: &["service.NAME.path", "service.NAME.route[].path"],
        kind: Kind::OneOrMore(&Kind::Pattern),
        unset: Unset::Default("\"/*\""),
        summary: "the paths it serves",
        detail: "\"/a/b\" is that path, \"/users/{id}\" any one segment in place of the braces, \"/static/*\" \
                 /static, /static/ and everything below. An exact path goes before one with parameters, that \
                 before the longest prefix, and that before \"/*\".",
        example: "[\"/cart\", \"/cart/*\"]",
        elsewhere: &["paths", "location", "prefix"],
    },
    table(
        &["service.NAME.clients"],
        "whether clients prove by a certificate who they are",
        "It holds for the hosts of the service: two services that share a host must say the same.",
    ),
    Key {
        at: &["service.NAME.clients.verify"],
        kind: Kind::Word(&["off", "optional", "required"]),
        unset: Unset::Default("\"off\""),
        summary: "whether a client is asked for a certificate",
        detail: "\"optional\" serves clients without one, \"required\" does not. A certificate that is not from the 'ca' ends the \
                 handshake either way.",
        example: "\"required\"",
        elsewhere: &["ssl_verify_client", "client-auth", "auth", "mtls"],
    },
    Key {
        at: &["service.NAME.clients.ca"],
        kind: Kind::Place,
        unset: Unset::Means("has to be written when clients are asked"),
        summary: "the file of the authorities that clients' certificates are from",
        detail: "PEM, one or more.",
        example: "\"/etc/hitless/clients.pem\"",
        elsewhere: &["ca-file", "cafile", "ssl_client_certificate", "authorities", "bundle"],
    },
    Key {
        at: &["service.NAME.clients.field"],
        kind: Kind::OwnField,
        unset: Unset::Means("the application is not told"),
        summary: "the field in which the application is told who the client is",
        detail: "What a client sends under this name is removed. The value is the common name of its certificate, or else the first \
                 alternative name, and the SHA-256 of the certificate: \"alice; sha256=9f86…\". What is not a letter, a digit or one of \
                 -._@ in a name is written as in a URL. Without a certificate there is no such field.",
        example: "\"X-Client\"",
        elsewhere: &["header", "identity"],
    },
    table(&["service.NAME.https"], "how clients come by TLS only", ""),
    Key {
        at: &["service.NAME.https.redirect"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether requests without TLS are sent to https",
        detail: "By a 308 to the same host, path and query, on port 443. Not below /.well-known/acme-challenge/, which authorities \
                 ask for without TLS.",
        example: "true",
        elsewhere: &["force", "force-https", "redirect-scheme", "only"],
    },
    Key {
        at: &["service.NAME.https.hsts"],
        kind: Kind::Duration { least: 0, most: 3650 * DAY, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how long browsers remember to come by TLS only",
        detail: "In Strict-Transport-Security (RFC 6797) of every answer over TLS, in place of the application's own. \"0s\" makes \
                 them forget. Begin with a short time: it cannot be taken back from those who do not come again.",
        example: "\"365d\"",
        elsewhere: &["strict-transport-security", "sts", "max-age"],
    },
    Key {
        at: &["service.NAME.https.hsts-subdomains"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether that holds for all names below the hosts too",
        detail: "",
        example: "true",
        elsewhere: &["include-subdomains", "includeSubDomains", "subdomains"],
    },
    Key {
        at: &["service.NAME.https.hsts-preload"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether browsers may have it built in",
        detail: "What hstspreload.org asks for: at least \"365d\", with subdomains.",
        example: "true",
        elsewhere: &["preload"],
    },
    table(&["service.NAME.pool"], "kept-alive connections to one endpoint, per data thread", ""),
    Key {
        at: &["service.NAME.pool.idle"],
        kind: Kind::Duration { least: 0, most: DAY, word: "" },
        unset: Unset::Default("\"60s\""),
        summary: "how long an unused connection is kept",
        detail: "\"0s\" keeps none.",
        example: "\"30s\"",
        elsewhere: &["idle-timeout", "keepalive"],
    },
    Key {
        at: &["service.NAME.pool.max-idle"],
        kind: Kind::Count { least: 0, most: 65_535, word: "" },
        unset: Unset::Default("64"),
        summary: "how many unused connections are kept",
        detail: "",
        example: "16",
        elsewhere: &["size", "max", "most"],
    },
    Key {
        at: &["service.NAME.resolve"],
        kind: Kind::Duration { least: SECOND, most: HOUR, word: "" },
        unset: Unset::Default("\"30s\""),
        summary: "how often the names among the endpoints are looked up",
        detail: "The resolver of the system is asked, which does not say how long its answer holds.",
        example: "\"5s\"",
        elsewhere: &["dns", "resolver", "ttl", "hold-valid"],
    },
    table(&["service.NAME.balance"], "which endpoint a request goes to", ""),
    Key {
        at: &["service.NAME.balance.way"],
        kind: Kind::Word(&["least", "turns", "hash"]),
        unset: Unset::Default("\"least\""),
        summary: "how the endpoint is chosen",
        detail: "\"least\" is the one of two with fewer requests in flight, \"turns\" each in turn, \"hash\" always the same one for the same 'key'; few keys move when an endpoint comes or goes. Weights count in each.",
        example: "\"turns\"",
        elsewhere: &["algorithm", "method", "policy", "strategy", "lb_policy", "mode"],
    },
    Key {
        at: &["service.NAME.balance.key"],
        kind: Kind::HashKey,
        unset: Unset::Default("\"address\""),
        summary: "what \"hash\" goes by",
        detail: "The address of the client, a field or a cookie of the request. A request without it is balanced as by \"least\".",
        example: "\"field:x-tenant\"",
        elsewhere: &["hash", "hash-key"],
    },
    Key {
        at: &["service.NAME.balance.sticky"],
        kind: Kind::Token,
        unset: Unset::Means("clients are not kept at one endpoint"),
        summary: "the name of a cookie that keeps a client at its endpoint",
        detail: "Set by hitless, with a value that tells nothing about the endpoint, HttpOnly, for '/'. A client whose endpoint gets no requests is given another one.",
        example: "\"hitless-endpoint\"",
        elsewhere: &["cookie", "session", "affinity", "stick"],
    },
    Key {
        at: &["service.NAME.balance.slow-start"],
        kind: Kind::Duration { least: 1, most: HOUR, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how long the share of an endpoint grows that has just become healthy",
        detail: "From a tenth to all of it. Not in \"hash\", and not for those that were there from the beginning.",
        example: "\"30s\"",
        elsewhere: &["slowstart", "slow_start", "warmup"],
    },
    Key {
        at: &["service.NAME.balance.panic"],
        kind: Kind::Count { least: 0, most: 100, word: "" },
        unset: Unset::Default("50"),
        summary: "below which percentage of endpoints that are well all of them are asked",
        detail: "Because a few that are well would drown in the requests of all. 0 never asks one that is unhealthy. One that is unknown, drained or held open by hand is never asked; one that is healthy is not left out for failed requests when nobody else is left.",
        example: "30",
        elsewhere: &["panic-threshold", "healthy_panic_threshold"],
    },
    Key {
        at: &["service.NAME.health"],
        kind: Kind::Table { short: "path" },
        unset: Unset::Means("nobody asks the endpoints whether they are well"),
        summary: "how endpoints are asked whether they are well",
        detail: "health = \"/healthz\" is short for health = { path = \"/healthz\" }. An endpoint gets no requests before it has \
                 answered once, and none while it is unhealthy, see 'balance.panic'. It is asked over a connection of its own.",
        example: "\"/healthz\"",
        elsewhere: &["health-check", "healthcheck", "check", "health_uri", "httpchk"],
    },
    Key {
        at: &["service.NAME.health.kind"],
        kind: Kind::Word(&["http", "tcp", "grpc"]),
        unset: Unset::Default("\"http\""),
        summary: "what it is asked",
        detail: "\"http\" is a GET of 'path', in the protocol of the service. \"tcp\" is a connection, with a TLS handshake where the service has one. \"grpc\" is the Check of grpc.health.v1.",
        example: "\"tcp\"",
        elsewhere: &["type", "protocol"],
    },
    Key {
        at: &["service.NAME.health.path"],
        kind: Kind::Target,
        unset: Unset::Default("\"/\""),
        summary: "the path of the question",
        detail: "",
        example: "\"/healthz\"",
        elsewhere: &["uri", "url"],
    },
    Key {
        at: &["service.NAME.health.status"],
        kind: Kind::Statuses,
        unset: Unset::Default("\"200-399\""),
        summary: "which statuses of the answer are good",
        detail: "One, or from one to another.",
        example: "\"200\"",
        elsewhere: &["expect", "expected", "matcher"],
    },
    Key {
        at: &["service.NAME.health.body"],
        kind: Kind::Body(1024),
        unset: Unset::Means("its content is not looked at"),
        summary: "what the content of the answer has to contain",
        detail: "It is looked for in the first 64 KiB.",
        example: "\"ok\"",
        elsewhere: &["contains", "match", "string"],
    },
    Key {
        at: &["service.NAME.health.host"],
        kind: Kind::Certified,
        unset: Unset::Means("the address of the endpoint"),
        summary: "the Host of the question",
        detail: "",
        example: "\"shop.example.com\"",
        elsewhere: &["hostname", "authority"],
    },
    Key {
        at: &["service.NAME.health.interval"],
        kind: Kind::Duration { least: 100, most: HOUR, word: "" },
        unset: Unset::Default("\"5s\""),
        summary: "how long to wait between two questions",
        detail: "",
        example: "\"1s\"",
        elsewhere: &["inter", "period", "every"],
    },
    Key {
        at: &["service.NAME.health.timeout"],
        kind: Kind::Duration { least: 10, most: HOUR, word: "" },
        unset: Unset::Default("\"2s\""),
        summary: "how long an answer may take, connection included",
        detail: "",
        example: "\"500ms\"",
        elsewhere: &[],
    },
    Key {
        at: &["service.NAME.health.rise"],
        kind: Kind::Count { least: 1, most: 100, word: "" },
        unset: Unset::Default("2"),
        summary: "how many good answers in a row make an unhealthy one healthy",
        detail: "The first answer of all counts by itself.",
        example: "1",
        elsewhere: &["healthy-threshold", "passes"],
    },
    Key {
        at: &["service.NAME.health.fall"],
        kind: Kind::Count { least: 1, most: 100, word: "" },
        unset: Unset::Default("3"),
        summary: "how many bad answers in a row make a healthy one unhealthy",
        detail: "",
        example: "5",
        elsewhere: &["unhealthy-threshold", "fails"],
    },
    Key {
        at: &["service.NAME.health.jitter"],
        kind: Kind::Percent,
        unset: Unset::Default("\"10%\""),
        summary: "how much shorter or longer each interval is, at random",
        detail: "So that endpoints are not asked all at once.",
        example: "\"20%\"",
        elsewhere: &["spread", "interval_jitter"],
    },
    table(
        &["service.NAME.breaker"],
        "when an endpoint is left alone because its requests fail",
        "A request fails for its endpoint when no connection is made, when it brings no answer, or when the answer is a 502, 503 or 504. An open breaker takes its endpoint out of balance; after a while a few requests try it. 'hitless breaker' sets one by hand.",
    ),
    Key {
        at: &["service.NAME.breaker.failures"],
        kind: Kind::Count { least: 1, most: 100_000, word: "off" },
        unset: Unset::Default("5"),
        summary: "how many failures in a row open it",
        detail: "",
        example: "10",
        elsewhere: &["consecutive", "consecutive_5xx", "max_fails", "errors", "threshold"],
    },
    Key {
        at: &["service.NAME.breaker.share"],
        kind: Kind::Percents,
        unset: Unset::Default("\"50%\""),
        summary: "which share of failed requests opens it",
        detail: "Of those since the first failure, within 'window', when they are at least 'volume'.",
        example: "\"20%\"",
        elsewhere: &["ratio", "error-rate", "percent"],
    },
    Key {
        at: &["service.NAME.breaker.volume"],
        kind: Kind::Count { least: 1, most: 1_000_000, word: "" },
        unset: Unset::Default("20"),
        summary: "from how many requests on the share counts",
        detail: "",
        example: "100",
        elsewhere: &["minimum", "min-requests", "request_volume"],
    },
    Key {
        at: &["service.NAME.breaker.window"],
        kind: Kind::Duration { least: 100, most: HOUR, word: "" },
        unset: Unset::Default("\"10s\""),
        summary: "over which time the share is taken",
        detail: "",
        example: "\"30s\"",
        elsewhere: &["fail_timeout", "period"],
    },
    Key {
        at: &["service.NAME.breaker.open"],
        kind: Kind::Duration { least: 10, most: DAY, word: "" },
        unset: Unset::Default("\"1s\""),
        summary: "how long it stays open at first",
        detail: "Each trial that fails doubles it, up to 'open-most'.",
        example: "\"5s\"",
        elsewhere: &["ejection-time", "base_ejection_time", "sleep-window"],
    },
    Key {
        at: &["service.NAME.breaker.open-most"],
        kind: Kind::Duration { least: 10, most: DAY, word: "" },
        unset: Unset::Default("\"30s\""),
        summary: "how long it stays open at most",
        detail: "",
        example: "\"2m\"",
        elsewhere: &["max_ejection_time"],
    },
    Key {
        at: &["service.NAME.breaker.trials"],
        kind: Kind::Count { least: 1, most: 1000, word: "" },
        unset: Unset::Default("3"),
        summary: "how many requests try it, and have to succeed, before it closes",
        detail: "No more are let through meanwhile.",
        example: "1",
        elsewhere: &["half-open", "half-open-requests"],
    },
    Key {
        at: &["service.NAME.breaker.service"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether the service as a whole has one too",
        detail: "While it is open every request is answered 503 at once.",
        example: "true",
        elsewhere: &[],
    },
    table(
        &["service.NAME.retry", "service.NAME.route[].retry"],
        "when a request that failed is sent again",
        "Only one of which the endpoint has certainly not seen anything, one that is idempotent by its method, or one with an Idempotency-Key; and only while its content can be sent from the start. Never to the endpoint that failed while there is another one. What a kept connection that turned out dead makes necessary, and the next endpoint when no connection is made, is not counted here. A route inherits each from its service.",
    ),
    Key {
        at: &["service.NAME.retry.attempts", "service.NAME.route[].retry.attempts"],
        kind: Kind::Count { least: 1, most: 20, word: "" },
        unset: Unset::Default("3"),
        summary: "how often a request is sent at most, the first time included",
        detail: "1 is never again.",
        example: "1",
        elsewhere: &["retries", "tries", "max", "num_retries", "proxy_next_upstream_tries"],
    },
    Key {
        at: &["service.NAME.retry.way", "service.NAME.route[].retry.way"],
        kind: Kind::Word(&["fixed", "exponential", "jitter"]),
        unset: Unset::Default("\"jitter\""),
        summary: "how the wait grows from one attempt to the next",
        detail: "\"exponential\" doubles it, \"jitter\" is a random time up to that.",
        example: "\"fixed\"",
        elsewhere: &["backoff"],
    },
    Key {
        at: &["service.NAME.retry.wait", "service.NAME.route[].retry.wait"],
        kind: Kind::Duration { least: 0, most: MINUTE, word: "" },
        unset: Unset::Default("\"10ms\""),
        summary: "how long to wait before the second attempt",
        detail: "",
        example: "\"50ms\"",
        elsewhere: &["delay", "base", "base_interval"],
    },
    Key {
        at: &["service.NAME.retry.wait-most", "service.NAME.route[].retry.wait-most"],
        kind: Kind::Duration { least: 0, most: HOUR, word: "" },
        unset: Unset::Default("\"250ms\""),
        summary: "how long to wait at most",
        detail: "An answer whose Retry-After is longer is passed on.",
        example: "\"1s\"",
        elsewhere: &["max-delay", "max_interval"],
    },
    Key {
        at: &["service.NAME.retry.budget", "service.NAME.route[].retry.budget"],
        kind: Kind::Percent,
        unset: Unset::Default("\"20%\""),
        summary: "which share of the requests of a service may be sent again",
        detail: "So that retries do not drown an application that fails. The service's own holds for what is saved up: a thousand requests' worth.",
        example: "\"10%\"",
        elsewhere: &["retry_budget", "budget_percent"],
    },
    Key {
        at: &["service.NAME.retry.floor", "service.NAME.route[].retry.floor"],
        kind: Kind::Count { least: 0, most: 100_000, word: "" },
        unset: Unset::Default("10"),
        summary: "how many retries a service has from the beginning, whatever its share",
        detail: "That of its first route.",
        example: "0",
        elsewhere: &["min_retry_concurrency", "minimum"],
    },
    Key {
        at: &["service.NAME.retry.on", "service.NAME.route[].retry.on"],
        kind: Kind::List(&Kind::Word(&["connect", "reset", "502", "503", "504"])),
        unset: Unset::Default("[\"connect\", \"reset\", \"502\", \"503\", \"504\"]"),
        summary: "what is followed by another attempt",
        detail: "\"connect\": no endpoint could be connected to. \"reset\": the connection broke before the answer. A status is asked for again only of another endpoint; without one it is passed on.",
        example: "[\"connect\"]",
        elsewhere: &["conditions", "retry_on", "proxy_next_upstream"],
    },
    Key {
        at: &["service.NAME.retry.idempotency-key", "service.NAME.route[].retry.idempotency-key"],
        kind: Kind::Flag,
        unset: Unset::Default("true"),
        summary: "whether a request with the field Idempotency-Key may be sent again",
        detail: "The application promises by it to act on the same key once.",
        example: "false",
        elsewhere: &[],
    },
    table(
        &["service.NAME.hold"],
        "requests that wait while the application is away",
        "While no endpoint can take a request because of a state that will change, such as a restart of the application, the \
         request waits, and goes on when the application is back: first come, first served, and no faster than it answers. \
         'hitless status' says how many wait, and why.",
    ),
    Key {
        at: &["service.NAME.hold.age"],
        kind: Kind::Duration { least: 1, most: DAY, word: "off" },
        unset: Unset::Default("\"30s\""),
        summary: "how long a request waits at most",
        detail: "Then it is answered 503 with Retry-After. \"off\" holds nothing.",
        example: "\"10s\"",
        elsewhere: &["timeout", "hold-timeout", "lb_try_duration"],
    },
    Key {
        at: &["service.NAME.hold.count"],
        kind: THINGS,
        unset: Unset::Default("10000"),
        summary: "how many requests may wait at a time",
        detail: "One more is answered 503 with Retry-After.",
        example: "2000",
        elsewhere: &["max", "most", "queue", "maxqueue"],
    },
    Key {
        at: &["service.NAME.hold.bytes"],
        kind: Kind::Size { least: 1, most: 64 * GIB, word: "off" },
        unset: Unset::Default("\"64MiB\""),
        summary: "how much content may be kept for requests that wait",
        detail: "Content that has not been read stays at the client, and does not count.",
        example: "\"16MiB\"",
        elsewhere: &["size", "memory"],
    },
    Key {
        at: &["service.NAME.hold.rate"],
        kind: Kind::Count { least: 1, most: 1_000_000, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how many that waited are let go in a second",
        detail: "Without it they go in waves that follow the application's answers: a few, then more as it answers.",
        example: "500",
        elsewhere: &["pace"],
    },
    Key {
        at: &["service.NAME.hold.on-connect"],
        kind: Kind::Flag,
        unset: Unset::Default("true"),
        summary: "whether requests wait when every endpoint refuses connections",
        detail: "Otherwise they are answered 502 then.",
        example: "false",
        elsewhere: &[],
    },
    Key {
        at: &["service.NAME.hold.on-breaker"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether requests wait while every endpoint's breaker is open",
        detail: "",
        example: "true",
        elsewhere: &[],
    },
    Key {
        at: &["service.NAME.unit"],
        kind: Kind::Unit,
        unset: Unset::Means("nothing is known of the application but whether it answers"),
        summary: "the systemd unit of the application",
        detail: "It is watched over D-Bus: from the moment at which it is to be stopped until it runs again requests wait. \
                 'hitless attach UNIT' also has it asked for its last answers before it gets its signal.",
        example: "\"shop.service\"",
        elsewhere: &["systemd", "systemd-unit", "process"],
    },
    Key {
        at: &["service.NAME.idle-stop"],
        kind: Kind::Duration { least: 1000, most: 365 * DAY, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "after how long without a request the unit is stopped",
        detail: "The next request starts it, and waits meanwhile. hitless may do that only when polkit says so; \
                 'hitless polkit' prints the rule.",
        example: "\"15m\"",
        elsewhere: &["scale-to-zero", "idle"],
    },
    table(
        &["defaults.timeout", "service.NAME.timeout", "service.NAME.route[].timeout"],
        "the deadlines of a request",
        "A route inherits each from its service, and that from [defaults.timeout]. A deadline that passes is \
         answered with a 504 that names it.",
    ),
    Key {
        at: &[
            "defaults.timeout.connect",
            "service.NAME.timeout.connect",
            "service.NAME.route[].timeout.connect",
        ],
        kind: Kind::Duration { least: 1, most: HOUR, word: "" },
        unset: Unset::Default("\"3s\""),
        summary: "to have a connection to the endpoint",
        detail: "",
        example: "\"500ms\"",
        elsewhere: &[],
    },
    Key {
        at: &[
            "defaults.timeout.first-byte",
            "service.NAME.timeout.first-byte",
            "service.NAME.route[].timeout.first-byte",
        ],
        kind: DEADLINE,
        unset: Unset::Default("\"60s\""),
        summary: "from the end of sending the request to the head of the answer",
        detail: "",
        example: "\"5m\"",
        elsewhere: &["read", "response", "ttfb"],
    },
    Key {
        at: &["defaults.timeout.idle", "service.NAME.timeout.idle", "service.NAME.route[].timeout.idle"],
        kind: DEADLINE,
        unset: Unset::Default("\"60s\""),
        summary: "the longest time in which no byte of a body moves, in either direction",
        detail: "An application that sends events sends something at least this often, such as a comment line.",
        example: "\"off\"",
        elsewhere: &[],
    },
    Key {
        at: &[
            "defaults.timeout.request",
            "service.NAME.timeout.request",
            "service.NAME.route[].timeout.request",
        ],
        kind: DEADLINE,
        unset: Unset::Default("\"off\""),
        summary: "from the head of the request to the end of the answer",
        detail: "",
        example: "\"10m\"",
        elsewhere: &["total"],
    },
    Key {
        at: &[
            "defaults.timeout.tunnel-idle",
            "service.NAME.timeout.tunnel-idle",
            "service.NAME.route[].timeout.tunnel-idle",
        ],
        kind: DEADLINE,
        unset: Unset::Default("\"1h\""),
        summary: "silence in both directions of a tunnel, such as a WebSocket",
        detail: "",
        example: "\"10m\"",
        elsewhere: &["tunnel", "websocket"],
    },
    table(
        &["limits", "service.NAME.limits", "service.NAME.route[].limits"],
        "what clients may ask for",
        "\"off\" is no limit. A limit that is reached is logged with its name; what its client is told is in \
         hitless(8). 'content', 'content-rate' and 'answer-rate' are inherited: a route takes them from its service, \
         and that from [limits]. The others hold for the daemon as a whole. A reload is enough to change any of them.",
    ),
    Key {
        at: &["limits.request-line"],
        kind: Kind::Size { least: 256, most: MIB, word: "" },
        unset: Unset::Default("\"8KiB\""),
        summary: "the longest request line",
        detail: "The method, the target and the version, or in HTTP/2 ':method', ':scheme', ':authority' and ':path' \
                 together. A longer one is answered 414. Clients expect that 8000 bytes are understood (RFC 9112, \
                 section 3).",
        example: "\"16KiB\"",
        elsewhere: &["uri", "url", "max-uri", "request-line-size", "LimitRequestLine"],
    },
    Key {
        at: &["limits.fields"],
        kind: Kind::Size { least: KIB, most: MIB, word: "" },
        unset: Unset::Default("\"32KiB\""),
        summary: "how long all fields of a request are together, cookies included",
        detail: "The same holds for its trailers. More is answered 431. A connection takes this much memory only while \
                 a request needs it.",
        example: "\"64KiB\"",
        elsewhere: &[
            "headers",
            "header-size",
            "max-header-size",
            "max-headers",
            "large_client_header_buffers",
            "client_header_buffer_size",
            "bufsize",
            "LimitRequestFieldSize",
        ],
    },
    Key {
        at: &["limits.field-count"],
        kind: Kind::Count { least: 8, most: 10_000, word: "" },
        unset: Unset::Default("100"),
        summary: "how many fields a request may have",
        detail: "The same holds for its trailers. More is answered 431.",
        example: "200",
        elsewhere: &["header-count", "max-header-count", "maxhdr", "LimitRequestFields"],
    },
    Key {
        at: &["limits.head-time"],
        kind: Kind::Duration { least: 100, most: HOUR, word: "" },
        unset: Unset::Default("\"10s\""),
        summary: "how long the head of a request may take",
        detail: "From accept, or on a kept connection from the first byte, to the empty line. What takes longer is \
                 answered 408 when something of it has come; a connection that says nothing is closed.",
        example: "\"5s\"",
        elsewhere: &[
            "header-timeout",
            "header-time",
            "client_header_timeout",
            "timeout-http-request",
            "http-request",
            "request-timeout",
            "RequestReadTimeout",
        ],
    },
    Key {
        at: &["limits.keep-alive"],
        kind: Kind::Duration { least: 0, most: DAY, word: "off" },
        unset: Unset::Default("\"75s\""),
        summary: "how long a connection without a request is kept",
        detail: "\"0s\" keeps none. \"off\" does not mean that none is kept, but that nothing ends the wait: each is kept \
                 for as long as its client likes.",
        example: "\"30s\"",
        elsewhere: &[
            "keepalive",
            "keepalive_timeout",
            "KeepAliveTimeout",
            "http-keep-alive",
            "idle",
            "idle-timeout",
        ],
    },
    Key {
        at: &["limits.keep-alive-requests"],
        kind: Kind::Count { least: 1, most: 1_000_000_000, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how many requests one connection may bring",
        detail: "The last one is answered with 'Connection: close', or in HTTP/2 followed by a GOAWAY: none is lost.",
        example: "1000",
        elsewhere: &["keepalive_requests", "keepalive-requests", "MaxKeepAliveRequests", "max-requests"],
    },
    Key {
        at: &["limits.connections"],
        kind: THINGS,
        unset: Unset::Default("\"off\""),
        summary: "how many client connections there may be at a time",
        detail: "Newcomers then wait in the kernel's queue, see 'backlog', until a connection has gone. What LimitNOFILE= of \
                 the unit leaves after a reserve for connections to applications is a limit in any case.",
        example: "20000",
        elsewhere: &[
            "maxconn",
            "max-connections",
            "max_connections",
            "worker_connections",
            "MaxRequestWorkers",
        ],
    },
    Key {
        at: &["limits.connections-per-address"],
        kind: THINGS,
        unset: Unset::Default("\"off\""),
        summary: "how many connections one address may have at a time",
        detail: "One more is reset before anything of it is read. In IPv6 a network of 64 bits counts as one address. Peers of \
                 a Unix socket have none. Behind a proxy or load balancer all clients have its address, unless it says \
                 theirs by 'listener.NAME.proxy-protocol'.",
        example: "100",
        elsewhere: &["limit_conn", "per-address", "per-ip", "connections-per-ip", "max-per-ip"],
    },
    Key {
        at: &["limits.streams"],
        kind: Kind::Count { least: 1, most: 65_535, word: "" },
        unset: Unset::Default("128"),
        summary: "how many requests one HTTP/2 connection may have at a time",
        detail: "It is told to each client (SETTINGS_MAX_CONCURRENT_STREAMS). Connections that are open keep what they \
                 were told.",
        example: "64",
        elsewhere: &[
            "max-streams",
            "max-concurrent-streams",
            "http2_max_concurrent_streams",
            "h2-max-concurrent-streams",
            "H2MaxSessionStreams",
        ],
    },
    Key {
        at: &["limits.tunnels"],
        kind: Kind::Count { least: 0, most: 10_000_000, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how many tunnels, such as WebSockets, there may be at a time",
        detail: "One more is answered 503. 0 allows none.",
        example: "10000",
        elsewhere: &["max-tunnels", "websockets", "max-websockets"],
    },
    Key {
        at: &["limits.replay"],
        kind: Kind::Size { least: 0, most: 1024 * GIB, word: "off" },
        unset: Unset::Default("\"1GiB\""),
        summary: "how much disk all kept uploads may take together",
        detail: "For services with 'replay.file'. What is beyond goes on as if it had none.",
        example: "\"10GiB\"",
        elsewhere: &[],
    },
    Key {
        at: &["limits.content", "service.NAME.limits.content", "service.NAME.route[].limits.content"],
        kind: Kind::Size { least: 0, most: 1024 * GIB, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how long the content of a request may be",
        detail: "More is answered 413, before anything is sent to the application when the length is announced. \"0B\" \
                 allows none.",
        example: "\"10MiB\"",
        elsewhere: &[
            "body",
            "body-size",
            "max-body",
            "max-body-size",
            "max-content",
            "content-length",
            "upload",
            "client_max_body_size",
            "LimitRequestBody",
        ],
    },
    Key {
        at: &[
            "limits.content-rate",
            "service.NAME.limits.content-rate",
            "service.NAME.route[].limits.content-rate",
        ],
        kind: Kind::Size { least: 1, most: GIB, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how much content a second must come while it is awaited",
        detail: "What comes slower is answered 408. Time in which the application does not take what has come is not \
                 the client's.",
        example: "\"1KiB\"",
        elsewhere: &["min-rate", "body-rate", "minrate", "client_body_timeout"],
    },
    Key {
        at: &[
            "limits.answer-rate",
            "service.NAME.limits.answer-rate",
            "service.NAME.route[].limits.answer-rate",
        ],
        kind: Kind::Size { least: 1, most: GIB, word: "off" },
        unset: Unset::Default("\"240B\""),
        summary: "how much of an answer a client must take a second while it waits for it",
        detail: "An answer that is taken slower is broken off, 5s after it began to wait at the earliest. What was \
                 taken faster before excuses a pause as long as 'timeout.idle'. Time in which the application has \
                 nothing to send is not the client's. The answers of one HTTP/2 connection are taken together, in \
                 turns. The slowest mobile networks are ten times as fast.",
        example: "\"1KiB\"",
        elsewhere: &[
            "min-response-rate",
            "response-rate",
            "send-rate",
            "send_timeout",
            "MinResponseDataRate",
        ],
    },
    table(
        &["service.NAME.rate[]", "service.NAME.route[].rate[]"],
        "how many requests are let through in a time",
        "Written [[service.NAME.rate]], or [[service.NAME.route.rate]] below a route, as often as needed. Those of the service count the \
         requests of all of its routes, those of a route its own besides; a request has to pass all of them. One that does not is answered \
         429 before any of its content is read, with Retry-After and the RateLimit fields. A reload keeps the count of those that it does not \
         change; a new gateway begins anew.",
    ),
    Key {
        at: &["service.NAME.rate[].requests", "service.NAME.route[].rate[].requests"],
        kind: Kind::Rate,
        unset: Unset::Required,
        summary: "how many in how much time",
        detail: "They are let through evenly: \"600/m\" is one each 100ms, after a burst.",
        example: "\"100/s\"",
        elsewhere: &["rate", "limit", "average", "max-requests", "requests-per-second", "rps"],
    },
    Key {
        at: &["service.NAME.rate[].burst", "service.NAME.route[].rate[].burst"],
        kind: Kind::Count { least: 1, most: 10_000_000, word: "" },
        unset: Unset::Means("as many as 'requests' lets through in its time"),
        summary: "how many may come at once after a quiet time",
        detail: "As many as come back within a day, at most.",
        example: "20",
        elsewhere: &["bucket", "size", "tokens"],
    },
    Key {
        at: &["service.NAME.rate[].by", "service.NAME.route[].rate[].by"],
        kind: Kind::RateBy,
        unset: Unset::Default("\"all\""),
        summary: "whose requests are counted together",
        detail: "\"all\": those of everybody. \"address\": those of one client address, or of one IPv6 network of 64 bits; behind a proxy \
                 that is trusted (forwarded.trusted), of the one that it names. \"field:NAME\": those with one value in this field, such as a key; \
                 without it they are counted by address. Some 65,000 addresses or values are remembered, those that have spent most.",
        example: "\"address\"",
        elsewhere: &["key", "per", "zone", "source"],
    },
    table(
        &["service.NAME.concurrency"],
        "how many requests the application has at a time",
        "A request takes its place before the application is asked, and leaves it when the application's answer has been read. A tunnel leaves its \
         place when it begins (limits.tunnels bounds them). Who finds no place waits in the queue, and is answered 503 with Retry-After when that \
         is full or takes too long: a service that is slow cannot take more than this from the others.",
    ),
    Key {
        at: &["service.NAME.concurrency.most"],
        kind: Kind::Count { least: 1, most: 1_000_000, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how many there may be",
        detail: "With 'adaptive', the highest limit that is tried.",
        example: "64",
        elsewhere: &["max", "limit", "max-requests", "max_conns", "maxconn", "max-connections"],
    },
    Key {
        at: &["service.NAME.concurrency.per-endpoint"],
        kind: Kind::Count { least: 1, most: 1_000_000, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how many there may be with each endpoint",
        detail: "An endpoint that has as many is not chosen.",
        example: "16",
        elsewhere: &["each", "endpoint", "per-server"],
    },
    Key {
        at: &["service.NAME.concurrency.queue"],
        kind: Kind::Count { least: 0, most: 100_000, word: "" },
        unset: Unset::Default("100"),
        summary: "how many may wait for a place",
        detail: "First come, first served. 0: nobody waits.",
        example: "1000",
        elsewhere: &["queue-size", "backlog", "max-pending", "waiting"],
    },
    Key {
        at: &["service.NAME.concurrency.queue-time"],
        kind: Kind::Duration { least: 1, most: HOUR, word: "" },
        unset: Unset::Default("\"1s\""),
        summary: "how long they may wait",
        detail: "",
        example: "\"250ms\"",
        elsewhere: &["queue-timeout", "timeout", "wait"],
    },
    Key {
        at: &["service.NAME.concurrency.adaptive"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether the limit is found out from how long requests take",
        detail: "The limit is lowered while requests take longer than usual and raised while they do not. What is usual is learnt when few \
                 are there, and otherwise by lowering the limit for a moment, every 10s at the most.",
        example: "true",
        elsewhere: &["auto", "automatic", "gradient"],
    },
    Key {
        at: &["service.NAME.concurrency.priority"],
        kind: Kind::Field,
        unset: Unset::Means("all are alike"),
        summary: "the field that says how urgent a request is",
        detail: "It has \"u=0\", the most urgent, to \"u=7\" (RFC 9218; \"Priority\" is its field), or such a number alone; without it 3 holds. Who \
                 is more urgent is let in first, and takes the place of the least urgent in a queue that is full. Whoever sends the field is believed.",
        example: "\"Priority\"",
        elsewhere: &["urgency", "class"],
    },
    table(&["service.NAME.deadline"], "how long a request may still take, between programs", ""),
    Key {
        at: &["service.NAME.deadline.field"],
        kind: Kind::OwnField,
        unset: Unset::Means("the application is not told"),
        summary: "the field that tells the application how long a request may still take",
        detail: "It has milliseconds: what is left of 'timeout.request' when the application is asked. What a trusted proxy (forwarded.trusted) \
                 says there shortens that; what others say is taken out. Requests of gRPC have their own field for it, grpc-timeout, which is \
                 used instead.",
        example: "\"Request-Timeout\"",
        elsewhere: &["header", "name", "timeout-field"],
    },
    table(
        &["service.NAME.fallback", "service.NAME.route[].fallback"],
        "what is answered when no endpoint can be asked",
        "It stands in for the 502, 503 or 504 of a request that no endpoint took: none is up, the breaker is open, no connection could be \
         made. What an application has answered itself is passed on. The ledger counts the request as shed all the same. A route takes it from \
         its service as a whole.",
    ),
    Key {
        at: &["service.NAME.fallback.answer", "service.NAME.route[].fallback.answer"],
        kind: TABLE,
        unset: Unset::Means("the error"),
        summary: "a fixed answer",
        detail: "",
        example: "{ status = 200, body = \"[]\" }",
        elsewhere: &["respond", "response", "static"],
    },
    Key {
        at: &["service.NAME.fallback.answer.status", "service.NAME.route[].fallback.answer.status"],
        kind: Kind::Count { least: 200, most: 599, word: "" },
        unset: Unset::Default("503"),
        summary: "the status of the answer",
        detail: "",
        example: "200",
        elsewhere: &["code"],
    },
    Key {
        at: &[
            "service.NAME.fallback.answer.content-type",
            "service.NAME.route[].fallback.answer.content-type",
        ],
        kind: Kind::MediaType,
        unset: Unset::Default("\"text/plain; charset=utf-8\""),
        summary: "the type of the body",
        detail: "",
        example: "\"application/json\"",
        elsewhere: &["type", "mime"],
    },
    Key {
        at: &["service.NAME.fallback.answer.body", "service.NAME.route[].fallback.answer.body"],
        kind: Kind::Body(65_536),
        unset: Unset::Default("\"\""),
        summary: "the body of the answer",
        detail: "",
        example: "\"[]\"",
        elsewhere: &["text", "content"],
    },
    table(
        &["service.NAME.replay", "service.NAME.route[].replay"],
        "how much of a request's content is kept to be sent again",
        "It is kept until the answer begins. Content that is not kept whole is sent once; when its endpoint dies then, the client \
         gets 502.",
    ),
    Key {
        at: &["service.NAME.replay.memory", "service.NAME.route[].replay.memory"],
        kind: Kind::Size { least: 0, most: 16 * MIB, word: "" },
        unset: Unset::Default("\"64KiB\""),
        summary: "how much of it is kept in memory",
        detail: "",
        example: "\"256KiB\"",
        elsewhere: &["proxy-request-buffering", "client_body_buffer_size", "request-buffers"],
    },
    Key {
        at: &["service.NAME.replay.file", "service.NAME.route[].replay.file"],
        kind: Kind::Size { least: 1, most: 1024 * GIB, word: "off" },
        unset: Unset::Default("\"off\""),
        summary: "how much more of it is kept in a file",
        detail: "An upload then survives the death of its endpoint: it is sent again from its start, by any method as long as \
                 the endpoint cannot have had all of it. The file has no name, lies in the state directory, and is gone with \
                 the request. 'limits.replay' bounds all of them together.",
        example: "\"1GiB\"",
        elsewhere: &["client_body_temp_path", "max-request-body-buffer"],
    },
    table(
        &["errors", "service.NAME.errors"],
        "how errors look",
        "hitless answers errors of its own as plain text, problem details (RFC 9457) or a page, by the Accept field of \
         the request; files can stand in for any of them. What an application answers is passed on as it is.",
    ),
    Key {
        at: &["errors.directory", "service.NAME.errors.directory"],
        kind: Kind::Folder,
        unset: Unset::Means("the answers that are built in"),
        summary: "the folder of the files that are the bodies of error answers",
        detail: "A file is called by a status, 4xx, 5xx or error, and .html, .json or .txt: 502.html goes before 5xx.html, \
                 and that before error.html. A form without a file stays built in. In a file {status}, {title}, {detail}, {code} and \
                 {request_id} are filled in; JSON has them in strings and is an object. A file holds at most 64 KiB of UTF-8 and is \
                 read when the configuration is; a change of a file takes a reload, which 'on-change' does not see by itself. Anything \
                 else in the folder is an error.",
        example: "\"/etc/hitless/errors\"",
        elsewhere: &["folder", "path", "dir", "page", "pages", "error_page", "errorfile", "errorfiles"],
    },
    table(
        &["service.NAME.route[]"],
        "a part of the service that differs from the rest",
        "Written [[service.NAME.route]], as often as needed. A service without any has one route for all of its \
         paths; a service with routes serves these and nothing else. What a route does not say is taken from its \
         service. Of two routes for the same host and path the one with more conditions goes first.",
    ),
    Key {
        at: &["service.NAME.route[].methods"],
        kind: Kind::Some(&Kind::Method),
        unset: Unset::Means("any method"),
        summary: "the methods it serves",
        detail: "",
        example: "[\"GET\", \"HEAD\"]",
        elsewhere: &["method"],
    },
    Key {
        at: &["service.NAME.route[].fields"],
        kind: Kind::Fields,
        unset: Unset::Means("no condition"),
        summary: "fields that a request must carry, with exactly these values",
        detail: "",
        example: "{ x-canary = \"yes\" }",
        elsewhere: &["headers", "header", "field"],
    },
    Key {
        at: &["service.NAME.route[].strip-prefix"],
        kind: Kind::Prefix,
        unset: Unset::Means("the path is forwarded as it came"),
        summary: "what is taken off the front of the path before it is forwarded",
        detail: "",
        example: "\"/api\"",
        elsewhere: &["strip", "strip_path"],
    },
    Key {
        at: &["service.NAME.route[].replace-prefix"],
        kind: TABLE,
        unset: Unset::Means("the path is forwarded as it came"),
        summary: "what the front of the path becomes before it is forwarded",
        detail: "",
        example: "{ from = \"/api\", to = \"/v2\" }",
        elsewhere: &["rewrite"],
    },
    Key {
        at: &["service.NAME.route[].replace-prefix.from"],
        kind: Kind::Prefix,
        unset: Unset::Required,
        summary: "what the path begins with",
        detail: "",
        example: "\"/api\"",
        elsewhere: &[],
    },
    Key {
        at: &["service.NAME.route[].replace-prefix.to"],
        kind: Kind::Prefix,
        unset: Unset::Required,
        summary: "what stands there instead",
        detail: "",
        example: "\"/v2\"",
        elsewhere: &["with"],
    },
    Key {
        at: &["service.NAME.route[].redirect"],
        kind: Kind::Table { short: "to" },
        unset: Unset::Means("no redirect"),
        summary: "answer with a redirect",
        detail: "redirect = \"https://{host}{path}{query}\" is short for redirect = { to = \"…\" }.",
        example: "\"https://{host}{path}{query}\"",
        elsewhere: &["return"],
    },
    Key {
        at: &["service.NAME.route[].redirect.to"],
        kind: Kind::Location,
        unset: Unset::Required,
        summary: "where it leads",
        detail: "{host} is the host of the request without its port, {path} its path with the leading slash, {query} its query with \
                 the question mark, or nothing.",
        example: "\"https://{host}{path}{query}\"",
        elsewhere: &["location", "url"],
    },
    Key {
        at: &["service.NAME.route[].redirect.status"],
        kind: Kind::OneOf(&[301, 302, 303, 307, 308]),
        unset: Unset::Default("308"),
        summary: "the status of the redirect",
        detail: "308 and 301 are permanent, 307 and 302 are not, 303 leads to a GET.",
        example: "307",
        elsewhere: &["code"],
    },
    Key {
        at: &["service.NAME.route[].answer"],
        kind: TABLE,
        unset: Unset::Means("no answer of its own"),
        summary: "answer without asking an application",
        detail: "",
        example: "{ status = 200, body = \"ok\" }",
        elsewhere: &["respond", "response"],
    },
    Key {
        at: &["service.NAME.route[].answer.status"],
        kind: Kind::Count { least: 200, most: 599, word: "" },
        unset: Unset::Default("200"),
        summary: "the status of the answer",
        detail: "",
        example: "404",
        elsewhere: &["code"],
    },
    Key {
        at: &["service.NAME.route[].answer.content-type"],
        kind: Kind::MediaType,
        unset: Unset::Default("\"text/plain; charset=utf-8\""),
        summary: "the type of the body",
        detail: "",
        example: "\"text/html; charset=utf-8\"",
        elsewhere: &["type", "mime"],
    },
    Key {
        at: &["service.NAME.route[].answer.body"],
        kind: Kind::Body(65_536),
        unset: Unset::Default("\"\""),
        summary: "the body of the answer",
        detail: "",
        example: "\"ok\\n\"",
        elsewhere: &["text", "content"],
    },
    Key {
        at: &["service.NAME.route[].connect"],
        kind: Kind::Flag,
        unset: Unset::Default("false"),
        summary: "whether CONNECT may open a tunnel to the application",
        detail: "",
        example: "true",
        elsewhere: &["tunnel"],
    },
];
