//! `hitless generate`: everything in the package that is written from the tables of verbs and keys.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::{Fatal, code, completions};
use crate::config;

/// When the words of hitless(8) were last looked over.
const REVISED: &str = "2026-11-21";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder to write into
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

pub fn generate(options: &Options, command: Command) -> Result<(), Fatal> {
    let fatal = |path: &std::path::Path, error: io::Error| {
        Fatal::new(code::IO, format_args!("cannot write '{}': {error}", path.display()))
    };
    let shell = |shell| completions::of(shell, command.clone());
    let manual = manual(command.clone()).map_err(|error| fatal(&options.to, error))?;
    let files = [
        ("hitless.8", manual),
        ("hitless.toml.5", config::man()),
        ("hitless.toml", config::example()),
        ("hitless.bash", shell(Shell::Bash)),
        ("_hitless", shell(Shell::Zsh)),
        ("hitless.fish", shell(Shell::Fish)),
    ];
    fs::create_dir_all(&options.to).map_err(|error| fatal(&options.to, error))?;
    for (name, text) in files {
        let path = options.to.join(name);
        fs::write(&path, text).map_err(|error| fatal(&path, error))?;
    }
    Ok(())
}

/// hitless(8): the options from the table, the rest by hand.
fn manual(command: Command) -> io::Result<String> {
    let man = clap_mangen::Man::new(command.clone()).section("8").date(REVISED);
    let man = man.manual("System administration");
    let mut text = vec![];
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.push_str(DESCRIPTION);
    text.push_str(&verbs(&command));
    let mut options = vec![];
    man.render_options_section(&mut options)?;
    text.push_str(&String::from_utf8_lossy(&options));
    text.push_str(REST);
    Ok(text)
}

fn verbs(command: &Command) -> String {
    let mut text = String::from(".SH COMMANDS\n");
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let mut usage = format!("\\fBhitless {}\\fR", verb.get_name());
        for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let argument_usage = roff(&argument_usage(argument));
            let optional = !argument.is_required_set();
            usage.push_str(&if optional {
                format!(" [{argument_usage}]")
            } else {
                format!(" {argument_usage}")
            });
        }
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!(".TP\n{usage}\n{}.\n", roff(&about)));
        for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            if !help.is_empty() {
                let name = roff(&argument_usage(argument));
                text.push_str(&format!(".RS\n.TP\n\\fB{name}\\fR\n{}.\n.RE\n", roff(&help)));
            }
        }
    }
    text
}

fn argument_usage(argument: &clap::Arg) -> String {
    let value = || {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => format!("--{long} {}", value()),
        Some(long) => format!("--{long}"),
        None => value(),
    }
}

/// A dash is a hyphen in roff, and a line must not begin with a dot or a quote.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

const DESCRIPTION: &str = r#".SH SYNOPSIS
\fBhitless\fR [\fB\-\-config\fR \fIDIR\fR] \fICOMMAND\fR [\fIOPTIONS\fR]
.br
\fBhitless\fR \fB\-\-help\fR | \fB\-\-version\fR
.SH DESCRIPTION
hitless accepts HTTP/1.1 and HTTP/2 on the sockets that systemd passes to it, and passes each request on to the application that the configuration names for its host and path.
No request is lost while the configuration is reloaded, while hitless is restarted, or when its serving process dies and nothing was in flight.
.PP
Two processes run. The \fBkeeper\fR is the main process of the unit: it holds the listening sockets, watches the other one and reports to systemd.
The \fBgateway\fR serves. When it dies, the keeper starts another one at once, with the configuration that was accepted last; connections wait in the kernel meanwhile.
.PP
Usually hitless is not started by hand: the package starts it, and
.BR systemctl (1)
controls it.
In a terminal, \fBhitless run\fR needs \fBlistener.\fINAME\fB.listen\fR in the configuration; Ctrl\-C drains, a second one ends at once.
.PP
Beside a running hitless, \fBhitless check\fR as root reads \fI/etc/hitless\fR with the rights of that process: a file that only root can read is an error.
"#;

const REST: &str = r#".SH SIGNALS
To the keeper:
.TP
.BR SIGTERM ", " SIGINT
Drain: accept nothing new, answer what is in flight until the deadline, then exit. A second one ends at once; what was in flight is cut.
.IP
New connections wait in the kernel for the next start when the sockets stay, as in \fBsystemctl restart hitless\fR. They are refused at once, after those that wait already have been accepted, when nobody will accept them: in \fBsystemctl stop hitless.socket hitless.service\fR, when the system goes down, and on sockets that the keeper bound itself.
Unix sockets that systemd passed cannot refuse: who connects meanwhile waits, and is closed with the socket.
.IP
A restart waits for no request in flight: the gateway that has them goes on alone, as \fB(hitless)\fR in \fBps\fR(1), and ends after the last one, or at its deadline. So it does when the service is stopped meanwhile. \fBsystemctl kill \-\-signal=KILL hitless\fR ends every process at once. With another \fBKillMode=\fR than \fBprocess\fR a restart waits, because systemd would end the gateway too.
.IP
A restart goes on with the configuration that served before when the files are refused; the journal and \fBsystemctl status\fR say so. A stop and a start do not: nothing is kept over a stop.
.IP
When the stop of the socket units is taken back during the drain, they must be restarted; the journal says so.
.TP
.B SIGHUP
Load the configuration again. The verdict is in the journal and in \fBsystemctl status\fR; \fBsystemctl reload\fR and \fBhitless reload\fR also wait for it.
.PP
The gateway ignores them. A gateway that finds its keeper gone answers what is in flight, at most until the deadline, and exits.
.SH ANSWERS OF ITS OWN
What a client gets when an application cannot answer, as plain text, HTML or problem details (RFC 9457) by its \fIAccept\fR field, with the request id to quote. The code is in the journal and in the access log. An HTTP/1 connection ends with an answer that is marked (closes): what follows on it could not be told from the rest of the request.
.TP
.BR "400 bad\-request" " (closes)"
The authority, the path or a field is ambiguous or not allowed.
.TP
.B 404 no\-route
The host is served, but no route fits; or no service is configured yet.
.TP
.B 405 connect\-refused
\fBCONNECT\fR where no route allows it.
.TP
.BR "408 client\-silent" " (closes)"
The client stopped sending its content for \fBtimeout.idle\fR.
.TP
.BR "408 slow\-head" " (closes)"
The head of a request took longer than \fBlimits.head\-time\fR.
.TP
.BR "408 slow\-content" " (closes)"
Its content came slower than \fBlimits.content\-rate\fR.
.TP
.BR "408 slow\-reader" " (closes)"
Its answer was taken slower than \fBlimits.answer\-rate\fR. Nobody is told the status: the answer has begun, and
breaks off.
.TP
.BR "413 long\-content" " (closes)"
Its content is longer than \fBlimits.content\fR.
.TP
.BR "414 long\-request\-line" " (closes)"
The request line is longer than \fBlimits.request\-line\fR.
.TP
.BR "417 unknown\-expectation" " (closes)"
\fBExpect\fR asks for something other than \fB100\-continue\fR.
.TP
.B 421 misdirected
No service has this host on this listener.
.TP
.B 421 wrong\-name
The TLS connection was made for another host, whose certificate or verification of clients is another one. Browsers ask
again on a connection of its own.
.TP
.BR "400 plain\-http" " (closes)"
Plain HTTP on a listener with \fBtls = true\fR.
.TP
.BR "431 long\-fields" ", " many\-fields " (closes)"
The fields of the request are longer than \fBlimits.fields\fR, or more than \fBlimits.field\-count\fR.
.TP
.B 499 client\-gone
Never sent: the client left before it had its answer.
.TP
.B 500 panicked
A mistake in hitless; only this request ends.
.TP
.BR "501 unknown\-coding" " (closes)"
A transfer coding other than \fBchunked\fR.
.TP
.BR "502 untrusted" ", " handshake
An endpoint of a service with \fBprotocol = "https"\fR has no certificate that proves it to be the one; or it agrees on no TLS. \
The log says what to do.
.TP
.BR "502 unreachable" ", " unsent ", " no\-answer ", " bad\-answer ", " bad\-upgrade
No connection to an endpoint; it broke before, or after, the request was taken; the answer is not HTTP, or no upgrade that can be passed on.
.TP
.B 502 truncated
The answer broke off. It had begun, so the client sees the status that the application sent and a connection or stream that breaks.
.TP
.B 503 no\-endpoint
The service has no endpoint.
.TP
.B 503 nobody\-up
The service has endpoints, and none of them gets requests; \fBhitless status\fR shows how each of them is.
.TP
.B 503 breaker\-open
The breaker of the service as a whole is open, or held open by \fBhitless breaker\fR.
.TP
.B 503 no\-descriptor
hitless may open no more connections: \fBLimitNOFILE=\fR of its unit is reached.
.TP
.B 503 drained
Cut at the deadline of a drain before a byte was sent.
.TP
.B 503 many\-tunnels
There are as many tunnels as \fBlimits.tunnels\fR allows.
.TP
.B 503 held\-too\-long
The application was away for longer than \fBhold.age\fR.
.TP
.B 503 hold\-full
The application is away, and as many requests wait for it as \fBhold.count\fR and \fBhold.bytes\fR allow.
.TP
.B 429 many\-requests
A rate of the service or the route is reached; \fBRetry\-After\fR, \fBRateLimit\-Policy\fR and \fBRateLimit\fR (draft\-ietf\-httpapi\-ratelimit\-headers\-10) say which and when to come again. Nothing of the content was read.
.TP
.B 503 no\-place
As many requests of the service are under way as \fBconcurrency\fR allows, and as many wait.
.TP
.B 503 long\-queue
It has waited for a place for \fBconcurrency.queue\-time\fR.
.TP
.B 503 shed
It waited for a place in a full queue, and a more urgent one came (\fBconcurrency.priority\fR).
.TP
.B 503 fault
A drill has failed it, with this status or the one that was asked for; see \fBhitless fault\fR.
.TP
.BR "505 unsupported\-version" " (closes)"
A major version of HTTP that is not spoken here.
.TP
.B 508 loop
The request has passed through here before, its \fBVia\fR says.
.TP
.BR "504 late\-connect" ", " late\-first\-byte ", " late\-idle ", " late\-request
The deadline of that name in \fItimeout\fR passed; the answer says which.
.SH LIMITS
What each limit is, and where it is set, is in
.BR hitless.toml (5).
One that is reached is logged with its name. \fBhitless status\fR counts those of connections by name, and those of requests as failures by the code above.
.TP
.BR limits.request\-line " (8KiB), " limits.fields " (32KiB), " limits.field\-count " (100)"
414, 431 and 431 (RFC 6585, section 5), and the end of an HTTP/1 connection.
.TP
.BR limits.head\-time " (10s)"
408 when something of the head has come; a connection that says nothing is closed.
.TP
.BR limits.keep\-alive " (75s), " limits.keep\-alive\-requests " (off)"
The connection is closed when it is idle, or after an answer that says so; no request is lost.
.TP
.BR limits.content " (off), " limits.content\-rate " (off)"
413 (RFC 9110, section 15.5.14) and 408, and the end of an HTTP/1 connection. The application sees a request that breaks off when it had begun.
.TP
.BR limits.streams " (128)"
HTTP/2 clients know it and wait; one more stream is refused (REFUSED_STREAM), which a client may send again.
.TP
.BR limits.tunnels " (off)"
503 with \fBRetry\-After\fR.
.TP
.BR limits.connections " (off)"
Newcomers wait in the queue of the kernel, \fBlistener.\fINAME\fB.backlog\fR or \fBBacklog=\fR long, until a connection has gone; their clients see a connection that is slow to answer. Told when it begins and when nobody waits any more, at most once a second.
.TP
.BR limits.connections\-per\-address " (off)"
The connection is reset before anything of it is read. Told at most once a second, with how many it were.
.TP
.B LimitNOFILE= \fR(of the unit)
Half of the descriptors are for clients, so that each of them can have a connection to its application: more clients wait as with \fBlimits.connections\fR. Where even so none is left (see
.BR accept (2),
EMFILE), accepting pauses until a connection has gone or a quarter of a second has passed, and a request that needs one is answered 503 no\-descriptor.
.SH JOURNAL
Failures with the fault \fBupstream\fR, \fBpolicy\fR or \fBhitless\fR and everything that changes are always logged; requests as \fBlog.access\fR says. A line of a request has
.BR HITLESS_REQUEST_ID ", " HITLESS_TRACE_ID ", " HITLESS_SERVICE ", " HITLESS_ROUTE ", " HITLESS_ENDPOINT ", " HITLESS_STATUS ", " HITLESS_CODE ", " HITLESS_FAULT ", " HITLESS_PHASE ", " HITLESS_ERROR ", " HITLESS_DURATION_US
and its method, authority, path, protocol, client and sizes. What changes in the daemon's life has a \fBMESSAGE_ID\fR with an explanation in the catalog. Lines that the journal does not take in time are dropped and counted, never waited for.
.PP
.nf
.RS
journalctl HITLESS_SERVICE=blog HITLESS_STATUS=502
.RE
.fi
.SH LEDGER
\fBhitless ledger\fR says of every gateway process, and of every service in it, what became of each request that it admitted:
.TP
.B answered
The whole answer, of the application or configured, was sent. A request that became a tunnel was answered with that.
.TP
.B client gone
The client left before it had the whole answer, or took it too slowly.
.TP
.B shed
Refused with an error of hitless' own, by the code of the failure.
.TP
.B cut
The answer had begun and could not be finished, or the deadline of a drain came (\fIdrained\fR), by the code of the failure.
.PP
These and the requests in flight add up to those admitted; what is missing is \fBunaccounted for\fR, which is a bug.
Requests that no service has are those of the service \fI\-\fR. A service that is gone keeps its line.
.PP
Connections and tunnels are begun here or adopted from another gateway, and are open, closed, or moved to another gateway.
A request does not move while it is in flight: its gateway answers it first.
.PP
A gateway hands its page over to the one that takes its place; the last eight are kept apart, older ones are summed up. One that
died could not: what it had in flight is lost, and its page says no more than that.
.SH EXIT STATUS
.TP
.B 0
Done; for \fBrun\fR: stopped as told.
.TP
.B 1
The reload was refused; the configuration from before serves on. For \fBledger\fR: something is unaccounted for.
.TP
.B 64
The command line is wrong.
.TP
.B 69
hitless cannot be reached, a socket cannot be bound, or the gateway cannot start.
.TP
.B 70
The gateway died while it drained or reloaded.
.TP
.B 74
An input or output error.
.TP
.B 78
The configuration is wrong, or does not fit the sockets that systemd passed. All errors are printed.
.SH ENVIRONMENT
.TP
.B HITLESS_CONFIG
The folder of the configuration, when \fB\-\-config\fR is not given.
.TP
.B MAINPID
Set by systemd for \fBExecReload=\fR: \fBhitless reload\fR fails when this process ends.
.TP
.BR LISTEN_FDS ", " LISTEN_FDNAMES ", " LISTEN_PID
The sockets that systemd passes, see
.BR sd_listen_fds (3).
.TP
.BR NOTIFY_SOCKET ", " WATCHDOG_USEC ", " WATCHDOG_PID
Where and how often to report to systemd, see
.BR sd_notify (3).
.TP
.B NO_COLOR
When set, help is printed without colours.
.SH FILES
.TP
.I /etc/hitless/hitless.toml
The daemon's own settings; may be absent.
.TP
.I /etc/hitless/services.d/*.toml
The services, usually one file per application. See
.BR hitless.toml (5).
.TP
.I /run/hitless/admin.sock
Answers \fBhitless status\fR, \fBhitless ledger\fR and \fBhitless reload\fR, and \fIGET /healthz\fR, \fIGET /readyz\fR, \fIGET /status\fR, \fIGET /ledger\fR, \fIPOST /reload\fR over HTTP.
.SH EXAMPLES
The least useful service, in \fI/etc/hitless/services.d/blog.toml\fR:
.PP
.nf
.RS
[service.blog]
hosts = ["blog.example.com"]
endpoints = ["127.0.0.1:3000"]
.RE
.fi
.PP
Then:
.PP
.nf
.RS
hitless check && systemctl reload hitless
.RE
.fi
.PP
What happened, with explanations:
.PP
.nf
.RS
journalctl \-u hitless \-x
.RE
.fi
.SH SEE ALSO
.BR hitless.toml (5),
.BR systemctl (1),
.BR journalctl (1),
.BR systemd.socket (5),
.BR systemd.service (5)
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_manual_has_every_verb_and_section() {
        let manual = manual(super::super::Arguments::command()).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "SIGNALS", "FILES"] {
            assert!(manual.contains(&format!(".SH {section}")), "{section}\n{manual}");
        }
        for verb in ["run", "reload", "status", "check", "completions"] {
            assert!(manual.contains(&format!("\\fBhitless {verb}\\fR")), "{verb}");
        }
        assert!(!manual.contains("hitless generate") && !manual.contains("hitless gateway"));
    }
}
