//! The scenes that tests begin with, and the questions that several of them ask.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::lab::{self, Answer, Host, Running, read_answer};

/// The name of the shop in requests.
pub const SHOP: &str = "shop.example";

pub const SHOP_FILE: &str = "/etc/hitless/services.d/shop.toml";

/// Nothing but Debian.
pub fn bare(_: &Host) {}

/// hitless installed, no service yet.
pub fn installed(host: &Host) {
    host.install(&lab::package()).ok();
}

/// hitless installed, in front of the sample application.
pub fn shop(host: &Host) {
    installed(host);
    host.put(&lab::example("sample"), "/usr/local/bin/sample");
    host.put(&lab::tree().join("examples/sample/sample@.service"), "/etc/systemd/system/sample@.service");
    host.shell("systemctl daemon-reload && systemctl start sample@3001").ok();
    host.write(SHOP_FILE, "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3001\"]\n");
    host.run(["systemctl", "reload", "hitless"]).ok();
    assert_eq!(host.get(SHOP, "/").status, 200);
}

/// An endpoint in the shop's place that answers /slow when it is told to.
pub struct Gate(Running);

impl Gate {
    pub fn of(host: &Host) -> Gate {
        const ENDPOINT: &str = r#"
import http.server
class Gate(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            print("asked", flush=True)
            # Until somebody writes.
            open("/run/gate").read()
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 3003), Gate)
print("ready", flush=True)
server.serve_forever()
"#;
        host.run(["mkfifo", "/run/gate"]).ok();
        let endpoint = host.spawn(["python3", "-c", ENDPOINT]);
        endpoint.wait_for(|line| (line == "ready").then_some(()));
        host.write(
            SHOP_FILE,
            "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3003\"]\n",
        );
        host.run(["systemctl", "reload", "hitless"]).ok();
        Gate(endpoint)
    }

    /// A client whose request is in flight.
    #[track_caller]
    pub fn asked(&self, host: &Host) -> Kept {
        let mut client = Kept::open(host);
        client.ask("/slow");
        self.0.wait_for(|line| (line == "asked").then_some(()));
        client
    }

    #[track_caller]
    pub fn opens(&self, host: &Host) {
        host.shell("echo >/run/gate").ok();
    }
}

/// A service file with a typing error.
pub fn break_configuration(host: &Host) {
    host.write(SHOP_FILE, "[service.shop]\nhosts = [\"shop.example\"]\nendpoint = [\"127.0.0.1:3001\"]\n");
}

/// Writes hitless.toml and lets the daemon take it.
#[track_caller]
pub fn configure(host: &Host, text: &str) {
    host.write("/etc/hitless/hitless.toml", text);
    host.run(["systemctl", "reload", "hitless"]).ok();
}

/// Gives the socket of hitless-https.socket a listener. Nothing here asks for TLS.
pub fn listen_on_443(host: &Host) {
    host.write("/etc/hitless/hitless.toml", "[listener.http]\n[listener.https]\n");
}

/// Sets settings of the service unit, as `systemctl edit` does, and restarts it.
#[track_caller]
pub fn edit_unit(host: &Host, settings: &str) {
    host.write("/etc/systemd/system/hitless.service.d/test.conf", &format!("[Service]\n{settings}\n"));
    host.shell("systemctl daemon-reload && systemctl restart hitless").ok();
}

/// The keeper's pid inside the host.
#[track_caller]
pub fn keeper(host: &Host) -> String {
    host.show("hitless.service", "MainPID")
}

/// The pid inside the host of the gateway that serves now, if there is one.
#[track_caller]
pub fn gateway(host: &Host) -> Option<String> {
    let children = host.run(["pgrep", "--parent", &keeper(host)]).stdout;
    children.lines().next().map(str::to_owned)
}

/// systemd killed nothing, warns of nobody, and reports a success.
#[track_caller]
pub fn ended_well(host: &Host) {
    assert_eq!(host.show("hitless.service", "Result"), "success");
    assert_eq!(host.show("hitless.service", "ExecMainStatus"), "0");
    let said: Vec<String> = host.journal(["_PID=1"]).iter().map(|entry| entry.message()).collect();
    let wrong = ["SIGKILL", "timed out", "remains running", "left-over"];
    let killed = said.iter().find(|line| wrong.iter().any(|words| line.contains(words)));
    assert_eq!(killed, None);
}

/// A client that stays connected.
pub struct Kept(BufReader<TcpStream>);

impl Kept {
    #[track_caller]
    pub fn open(host: &Host) -> Kept {
        Kept(BufReader::new(host.connect(80).unwrap()))
    }

    /// One that has switched to WebSocket.
    #[track_caller]
    pub fn websocket(host: &Host) -> Kept {
        let mut kept = Kept::open(host);
        let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        kept.write(format!("GET /ws HTTP/1.1\r\nHost: {SHOP}\r\n{fields}\r\n\r\n").as_bytes());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(kept.0.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        kept
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, path: &str) {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: {SHOP}\r\n\r\n").as_bytes());
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        read_answer(&mut self.0).unwrap()
    }

    /// The status, which did not come with the end of the connection.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> u16 {
        self.ask(path);
        let answer = self.answer();
        assert!(!answer.field("connection").eq_ignore_ascii_case("close"), "{}", answer.head);
        answer.status
    }

    /// A message that comes back.
    #[track_caller]
    pub fn echoes(&mut self, text: &str) {
        let length = u8::try_from(text.len()).unwrap();
        let mask = [1, 2, 3, 4];
        let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [0x81, 0x80 | length].into_iter().chain(mask).chain(masked).collect();
        self.write(&frame);
        let mut back = vec![0; 2 + text.len()];
        self.0.read_exact(&mut back).unwrap();
        assert_eq!(back, [&[0x81, length], text.as_bytes()].concat());
    }
}
