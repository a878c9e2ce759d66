//! A booted host with the package installed and the applications running: what the events happen to.
//!
//! Two applications: `shop` on two TCP endpoints, `blog` on a Unix socket, all instances of one template unit.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lab::{Host, Release};
use crate::secure::Secrets;
use crate::watch::Outgoing;
use hitless::prove::{Address, Load, Options};

pub const SHOP: &str = "/etc/hitless/services.d/shop.toml";
pub const BLOG: &str = "/etc/hitless/services.d/blog.toml";
pub const BROKEN: &str = "/etc/hitless/services.d/broken.toml";

/// The package of a newer version, in the host.
pub const NEWER: &str = "/root/newer.deb";

const SHOP_TEXT: &str = "\
[service.shop]
hosts = [\"shop.example.com\"]
endpoints = [\"127.0.0.1:3001\", \"127.0.0.1:3002\"]
";
const BLOG_TEXT: &str = "\
[service.blog]
hosts = [\"blog.example.com\"]
endpoints = [\"unix:/run/sample-blog/http.sock\"]
";
const SAMPLE_UNIT: &str = include_str!("../sample/sample@.service");

/// What is brought onto the stage.
pub struct Props {
    pub package: PathBuf,
    pub sample: PathBuf,
    /// The package of a newer version.
    pub newer: Option<PathBuf>,
    /// A program that does not work.
    pub broken: Option<PathBuf>,
}

pub struct Stage {
    pub host: Host,
    pub debian: u32,
    secrets: OnceLock<Secrets>,
}

impl Stage {
    /// Boots, installs and starts everything, telling each step and how long it took.
    pub fn set(release: Release, debian: u32, props: &Props) -> anyhow::Result<Stage> {
        println!("Debian {debian}");
        let host = step("boot a throw-away host", || Host::boot(release));
        step("install the package, which starts it", || host.install(&props.package).ok());
        step("start the sample applications: shop twice, blog once", || {
            host.put(&props.sample, "/usr/local/bin/sample");
            host.write("/etc/systemd/system/sample@.service", SAMPLE_UNIT);
            host.run(["systemctl", "daemon-reload"]).ok();
            host.run(["systemctl", "start", "sample@3001", "sample@3002", "sample@blog"]).ok();
        });
        step("lay ready: a newer package, its program, a broken one", || {
            host.shell("mkdir -p /root/programs && cp /usr/sbin/hitless /root/programs/first").ok();
            if let Some(newer) = &props.newer {
                host.put(newer, NEWER);
                host.shell(&format!(
                    "dpkg-deb --extract {NEWER} /root/newer && mv /root/newer/usr/sbin/hitless /root/programs/newer"
                ))
                .ok();
            }
            if let Some(broken) = &props.broken {
                host.put(broken, "/root/programs/broken");
            }
        });
        let stage = Stage { host, debian, secrets: OnceLock::new() };
        step("write services.d/shop.toml and blog.toml, reload", || {
            stage.host.write(SHOP, SHOP_TEXT);
            stage.host.write(BLOG, BLOG_TEXT);
            stage.host.run(["systemctl", "reload", "hitless"]).ok();
        });
        for authority in ["shop.example.com", "blog.example.com"] {
            let answer = stage.host.get(authority, "/");
            anyhow::ensure!(answer.status == 200, "{authority} answers {}: {}", answer.status, answer.body);
        }
        Ok(stage)
    }

    /// What is offered, unless an event wants something else: both applications, everything in usual numbers.
    pub fn usual(&self) -> Options {
        let blog = self.host.path("/run/sample-blog/http.sock");
        let hosts = vec!["shop.example.com".to_owned(), "blog.example.com".to_owned()];
        let posts_from = vec![local(3001), local(3002), Address::Unix(blog)];
        Options { posts_from, ..Options::new(local(80), hosts) }
    }

    /// The same over TLS.
    pub fn usual_over_tls(&self) -> anyhow::Result<Options> {
        let tls = Some(self.secrets()?.tls());
        Ok(Options { tls, address: local(443), ..self.usual() })
    }

    /// What the host's certificates come from; before the first event over TLS it gets its first one, and port 443.
    pub fn secrets(&self) -> anyhow::Result<&Secrets> {
        if let Some(secrets) = self.secrets.get() {
            return Ok(secrets);
        }
        let secrets = Secrets::new()?;
        let set =
            step("write a certificate, enable hitless-https.socket, restart", || secrets.set(&self.host));
        anyhow::ensure!(set.status == 0, "cannot serve TLS: {}\n{}", set.stderr.trim(), self.explanation());
        Ok(self.secrets.get_or_init(|| secrets))
    }

    /// Starts the load inside the host's network.
    pub fn load(&self, options: Options) -> anyhow::Result<Load> {
        let leader = self.host.leader();
        Load::start(options, move || {
            // A socket belongs to the network namespace of the thread that makes it.
            let network = File::open(format!("/proc/{leader}/ns/net"))?;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        })
        .context("cannot start the load")
    }

    /// What `hitless VERB --json` says, also when it says it with a failing exit code.
    fn ask(&self, verb: &str) -> Option<serde_json::Value> {
        serde_json::from_str(&self.host.run(["hitless", verb, "--json"]).stdout).ok()
    }

    /// The gateway that serves.
    pub fn gateway(&self) -> anyhow::Result<u32> {
        let pid = self.ask("status").and_then(|status| u32::try_from(status["pid"].as_u64()?).ok());
        pid.context("hitless does not say which process serves")
    }

    pub fn keeper(&self) -> anyhow::Result<u32> {
        Ok(self.host.show("hitless", "MainPID").parse()?)
    }

    /// Watches the gateway that serves now.
    pub fn outgoing(&self) -> anyhow::Result<Outgoing> {
        Outgoing::watch(self.host.leader(), self.gateway()?)
    }

    /// How many requests, connections and tunnels are unaccounted for; `None` when nobody says.
    pub fn residue(&self) -> Option<u64> {
        let told = self.ask("ledger").or_else(|| self.ask("status"))?;
        match told.get("residue")? {
            serde_json::Value::Object(each) => each.values().map(serde_json::Value::as_u64).sum(),
            one => one.as_i64().map(i64::unsigned_abs),
        }
    }

    /// What the host has to say when something went wrong.
    pub fn explanation(&self) -> String {
        self.host
            .shell("systemctl status --no-pager --lines=0 hitless; journalctl -u hitless -n 15 --no-pager")
            .stdout
    }
}

fn local(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

fn step<T>(what: &str, deed: impl FnOnce() -> T) -> T {
    print!("  {what:<58}");
    // A terminal that is gone is no reason to stop.
    let _ = std::io::stdout().flush();
    let began = Instant::now();
    let result = deed();
    println!("{:>6.1} s", began.elapsed().as_secs_f64());
    result
}
